//! `[retention]` → how much of the past is kept.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::store::{Keep, Retention};

use super::key::ValueKind;
use super::log::FaultLog;
use super::row::{Row, keys_of, put, read_rows};
use super::show;
use super::values::Zero;
use super::walk::{TomlEntry, TomlTable};

pub(super) fn default_retention() -> Retention {
    Retention {
        changes: Keep { count: 1000, age: None },
        deliveries: Keep { count: 100, age: None },
        outputs: Keep { count: 20, age: Some(Duration::from_secs(90 * 86_400)) },
    }
}

pub(super) static RETENTION: [Row<Retention, Retention>; 6] = [
    Row {
        name: "changes",
        kind: ValueKind::Count,
        about: "So many changes of each watch, the newest.",
        read: |retention, field| put(&mut retention.changes.count, field.count()),
        show: |retention| Some(retention.changes.count.into()),
    },
    Row {
        name: "changes_age",
        kind: ValueKind::Duration,
        about: "No change that is older.",
        read: |retention, field| put(&mut retention.changes.age, field.duration(Zero::Refused)),
        show: |retention| retention.changes.age.and_then(show::duration),
    },
    Row {
        name: "deliveries",
        kind: ValueKind::Count,
        about: "So many finished deliveries of each watch and hook.",
        read: |retention, field| put(&mut retention.deliveries.count, field.count()),
        show: |retention| Some(retention.deliveries.count.into()),
    },
    Row {
        name: "deliveries_age",
        kind: ValueKind::Duration,
        about: "No finished delivery that is older.",
        read: |retention, field| put(&mut retention.deliveries.age, field.duration(Zero::Refused)),
        show: |retention| retention.deliveries.age.and_then(show::duration),
    },
    Row {
        name: "outputs",
        kind: ValueKind::Count,
        about: "What so many runs of each watch and hook have printed.",
        read: |retention, field| put(&mut retention.outputs.count, field.count()),
        show: |retention| Some(retention.outputs.count.into()),
    },
    Row {
        name: "outputs_age",
        kind: ValueKind::Duration,
        about: "No output that is older.",
        read: |retention, field| put(&mut retention.outputs.age, field.duration(Zero::Refused)),
        show: |retention| retention.outputs.age.and_then(show::duration),
    },
];

pub(super) fn read(entries: &BTreeMap<&str, TomlEntry<'_>>, log: &FaultLog) -> Retention {
    let keys = keys_of(&RETENTION);
    let mut retention = default_retention();
    read_rows(&RETENTION, &mut retention, &TomlTable::new("retention".to_owned(), &keys, entries.clone(), log));
    retention
}
