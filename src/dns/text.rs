//! Character-strings of RFC 1035: what TXT and CAA hold, as bytes, and their presentation form.

use std::fmt::Write as _;

use super::{Invalid, quoted};

/// Bytes of one character-string.
const STRING_LIMIT: usize = 255;

/// The character-strings that hold these bytes, each as long as may be; one that is empty for none.
pub fn strings(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let empty = bytes.is_empty().then_some(bytes);
    empty.into_iter().chain(bytes.chunks(STRING_LIMIT))
}

/// The presentation form: quoted character-strings with a blank between them.
pub fn print(bytes: &[u8]) -> String {
    strings(bytes).map(print_one).collect::<Vec<_>>().join(" ")
}

/// These bytes as one quoted string, however long.
pub fn print_one(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() + 2);
    text.push('"');
    for byte in bytes {
        match byte {
            b'"' | b'\\' => text.extend(['\\', char::from(*byte)]),
            b' '..=b'~' => text.push(char::from(*byte)),
            // A String takes all that is written.
            other => drop(write!(text, "\\{other:03}")),
        }
    }
    text.push('"');
    text
}

/// The bytes of a presentation form: quoted strings, with or without blanks between them, or words; all joined.
///
/// # Errors
/// Says what is wrong: no string, an open quote, an escape that is none.
pub fn parse(text: &str) -> Result<Vec<u8>, Invalid> {
    let mut rest = text.trim_ascii();
    if rest.is_empty() {
        return Err(Invalid::new("holds no character-string, not even an empty one"));
    }
    let mut bytes = Vec::with_capacity(rest.len());
    while !rest.is_empty() {
        rest = match rest.strip_prefix('"') {
            Some(behind) => until(behind, |c| c == '"', &mut bytes)?
                .strip_prefix('"')
                .ok_or_else(|| Invalid::new(format!("{} has a quote that is not closed", quoted(text))))?,
            None => until(rest, |c| c == '"' || c.is_ascii_whitespace(), &mut bytes)?,
        }
        .trim_ascii_start();
    }
    Ok(bytes)
}

/// The bytes of one string that is not quoted, blanks within it and all.
///
/// # Errors
/// Where it has a quote, or an escape that is none.
pub(super) fn parse_unquoted(text: &str) -> Result<Vec<u8>, Invalid> {
    let mut bytes = Vec::with_capacity(text.len());
    match until(text, |c| c == '"', &mut bytes)? {
        "" => Ok(bytes),
        _ => Err(Invalid::new(format!("{} has a quote in its middle", quoted(text)))),
    }
}

/// Puts the bytes up to a character that is an end into `bytes`, and answers what follows, the end included.
fn until<'a>(text: &'a str, is_end: fn(char) -> bool, bytes: &mut Vec<u8>) -> Result<&'a str, Invalid> {
    let mut rest = text;
    loop {
        let plain = rest.find(|c| c == '\\' || is_end(c)).unwrap_or(rest.len());
        let (before, behind) = rest.split_at(plain);
        bytes.extend_from_slice(before.as_bytes());
        let Some(escaped) = behind.strip_prefix('\\') else { return Ok(behind) };
        let (byte, after) = escape(escaped)?;
        bytes.push(byte);
        rest = after;
    }
}

/// The byte that an escape stands for, and what follows; `text` begins behind the backslash.
pub(super) fn escape(text: &str) -> Result<(u8, &str), Invalid> {
    let wrong = || Invalid::new(format!("\\{} is no escape; there are \\DDD up to \\255 and \\C", short(text)));
    let first = text.bytes().next().filter(u8::is_ascii).ok_or_else(wrong)?;
    if !first.is_ascii_digit() {
        return Ok((first, text.get(1..).unwrap_or_default()));
    }
    let (digits, after) = text.split_at_checked(3).ok_or_else(wrong)?;
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    Ok((digits.parse().map_err(|_| wrong())?, after))
}

fn short(text: &str) -> String {
    text.chars().take(3).collect()
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
