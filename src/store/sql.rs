//! How the domain's types are stored in columns.
//!
//! Enums, digests, tags and delivery targets are stored as text, times as milliseconds since 1970, UTC.

use jiff::Timestamp;
use rusqlite::Row;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, Value, ValueRef};

use crate::domain::delivery::{DeliveryState, Ending, Target};
use crate::domain::{Cause, ChangeKind, ChangeSet, Choice, Digest, Lane, Tag};

/// Stores types as the text that their `as_str` returns, and parses them with the given function.
macro_rules! text_columns {
    ($($type:ty: $parse:expr),* $(,)?) => {$(
        impl ToSql for $type {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(ToSqlOutput::Borrowed(ValueRef::Text(self.as_str().as_bytes())))
            }
        }

        impl FromSql for $type {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                parsed(value, $parse)
            }
        }
    )*};
}

text_columns! {
    ChangeKind: ChangeKind::parse,
    Lane: Lane::parse,
    Cause: Cause::parse,
    DeliveryState: DeliveryState::parse,
    Ending: Ending::parse,
    Digest: |text| Digest::parse(text).ok(),
    Tag: |text| Tag::parse(text).ok(),
}

impl ToSql for Target {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Owned(Value::Text(self.to_string())))
    }
}

impl FromSql for Target {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        parsed(value, Self::parse)
    }
}

impl ToSql for ChangeSet {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let words: Vec<&str> = self.iter().map(ChangeKind::as_str).collect();
        Ok(ToSqlOutput::Owned(Value::Text(words.join(","))))
    }
}

impl FromSql for ChangeSet {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        parsed(value, |text| text.split(',').map(ChangeKind::parse).collect())
    }
}

fn parsed<T>(value: ValueRef<'_>, parse: impl FnOnce(&str) -> Option<T>) -> FromSqlResult<T> {
    let text = value.as_str()?;
    parse(text).ok_or_else(|| FromSqlError::Other(format!("{text:?} means nothing here").into()))
}

/// A timestamp column, in milliseconds since 1970, UTC.
#[derive(Clone, Copy)]
pub(super) struct Time(pub(super) Timestamp);

impl ToSql for Time {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Owned(Value::Integer(self.0.as_millisecond())))
    }
}

impl FromSql for Time {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let milliseconds = value.as_i64()?;
        Timestamp::from_millisecond(milliseconds).map(Self).map_err(|_| FromSqlError::OutOfRange(milliseconds))
    }
}

/// Collects rows and leaves out those with a value that means nothing here, because a newer taghook or somebody by hand
/// wrote it: one such row must not hide all others.
pub(super) fn readable<T>(rows: impl Iterator<Item = rusqlite::Result<T>>) -> rusqlite::Result<Vec<T>> {
    use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, Utf8Error};
    let is_readable = |row: &rusqlite::Result<T>| match row {
        Err(
            why @ (FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..) | Utf8Error(..)),
        ) => {
            tracing::error!("a row of the database cannot be read and is left out: {why}");
            false
        }
        _ => true,
    };
    rows.filter(is_readable).collect()
}

/// Reads what a hook has printed. Bytes that are no text, by somebody's hand or a cut, are replaced and hide nothing.
pub(super) fn printed(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<String>> {
    Ok(match row.get_ref(index)? {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        _ => None,
    })
}

/// Reads a timestamp column that may be null.
pub(super) fn time(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<Time>>(index)?.map(|Time(at)| at))
}

/// Reads a choice from two adjacent columns: its tag and its digest.
pub(super) fn choice(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<Choice>> {
    let (tag, digest) = (row.get(index)?, row.get(index + 1)?);
    Ok(Option::zip(tag, digest).map(|(tag, digest)| Choice { tag, digest }))
}

/// The values of the two columns that [`choice`] reads; both are null without a choice.
pub(super) fn choice_columns(choice: Option<&Choice>) -> (Option<&Tag>, Option<&Digest>) {
    choice.map(|choice| (&choice.tag, &choice.digest)).unzip()
}
