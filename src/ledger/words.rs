//! Enums as words in columns, and rows as types.

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::{Error, Result};

/// The word of a unit variant.
pub(super) fn word<T: Serialize>(value: T) -> Result<String> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => Ok(word),
        other => Err(Error::Integrity(format!("not a word: {other:?}"))),
    }
}

/// The variant of a word in a column.
pub(super) fn variant<T: DeserializeOwned>(row: &PgRow, column: &str) -> Result<T> {
    let word: String = row.try_get(column)?;
    parse(&word)
        .ok_or_else(|| Error::Integrity(format!("column {column}: unknown word \"{word}\"; a newer version wrote it")))
}

/// The variant of a word.
pub(super) fn parse<T: DeserializeOwned>(word: &str) -> Option<T> {
    serde_json::from_value(serde_json::Value::String(word.to_owned())).ok()
}

/// A time.
pub(super) fn time(row: &PgRow, column: &str) -> Result<jiff::Timestamp> {
    Ok(row.try_get::<jiff_sqlx::Timestamp, _>(column)?.to_jiff())
}

/// A time that may not have come yet.
pub(super) fn time_maybe(row: &PgRow, column: &str) -> Result<Option<jiff::Timestamp>> {
    Ok(row.try_get::<Option<jiff_sqlx::Timestamp>, _>(column)?.map(jiff_sqlx::Timestamp::to_jiff))
}

/// A jsonb column as a type.
pub(super) fn json_maybe<T: DeserializeOwned>(row: &PgRow, column: &str) -> Result<Option<T>> {
    let value: Option<serde_json::Value> = row.try_get(column)?;
    value
        .map(|value| serde_json::from_value(value).map_err(|e| Error::Integrity(format!("column {column}: {e}"))))
        .transpose()
}
