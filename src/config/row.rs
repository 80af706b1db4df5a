//! The row that defines a config key.
//!
//! *Invariant:* a key is defined in one row and nowhere else. Reading, the JSON Schema, `config show`, the remedies for
//! unknown keys and what a fault may quote all follow the rows, and tests compare `config.example.toml` with them. The
//! default of a key is what the field that its row fills starts with, in the `default_…` function beside the rows.

use toml::Value;

use super::key::{Key, ValueKind};
use super::walk::{TomlField, TomlTable};

/// One key of a section: `D` is what reading fills in, and `T` what `config show` looks at.
pub(super) struct Row<D, T> {
    pub(super) name: &'static str,
    pub(super) kind: ValueKind,
    pub(super) about: &'static str,
    /// Called where the key is present. Reports what is wrong with its value, and then leaves the default in place.
    pub(super) read: fn(&mut D, &TomlField<'_, '_>),
    /// The value in force, in the form in which it may be written, without secrets.
    pub(super) show: fn(&T) -> Option<Value>,
}

pub(super) fn keys_of<D, T>(rows: &[Row<D, T>]) -> Vec<Key> {
    rows.iter().map(|row| Key { name: row.name, kind: row.kind, about: row.about }).collect()
}

/// Reads the keys that are present. What depends on several keys is for the caller to check afterwards.
pub(super) fn read_rows<D, T>(rows: &[Row<D, T>], draft: &mut D, table: &TomlTable<'_, '_>) {
    for row in rows {
        if let Some(field) = table.field(row.name).filter(TomlField::is_one_line) {
            (row.read)(draft, &field);
        }
    }
}

/// Replaces a default by what was read, if that was good.
pub(super) fn put<V>(place: &mut V, read: Option<impl Into<V>>) {
    if let Some(value) = read {
        *place = value.into();
    }
}
