//! Columns for people.

use crate::access::text;

/// Rows under a head, each column as wide as its widest cell. What could move the cursor is spelled out.
pub(super) fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let clean = |cell: String| text::line(&cell, usize::MAX);
    let rows: Vec<[String; N]> =
        std::iter::once(head.map(str::to_owned)).chain(rows).map(|row| row.map(clean)).collect();
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// `2026-11-20T20:00:00Z`: to the second.
pub(super) fn instant(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `sha256:` and twelve digits: enough to tell plans apart, too little to approve one.
pub(super) fn short(digest: &str) -> String {
    digest.char_indices().nth(19).map_or(digest, |(end, _)| digest.get(..end).unwrap_or(digest)).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_nothing_moves_the_cursor() {
        let text =
            table(["A", "LONGER"], [["äö\u{1b}[2J".to_owned(), "x".to_owned()], ["b".to_owned(), String::new()]]);
        assert_eq!(text, "A            LONGER\näö\\u{1b}[2J  x\nb\n");
        assert_eq!(short(&format!("sha256:{}", "a".repeat(64))), format!("sha256:{}", "a".repeat(12)));
    }
}
