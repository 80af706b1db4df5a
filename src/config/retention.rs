//! `[retention]` → what is kept of the past.

use std::collections::BTreeMap;

use crate::store::{Keep, Retention};

use super::defaults;
use super::keys::RETENTION;
use super::values::Zero;
use super::walk::{Item, Report, Table};

/// Reads the table.
pub(super) fn read<'a>(items: &BTreeMap<&'a str, Item<'a>>, report: &Report) -> Retention {
    let mut table = Table::new("retention".to_owned(), &RETENTION, items.clone(), report);
    let mut keep = |count, age, default: Keep| Keep {
        count: table.count(count).unwrap_or(default.count),
        age: table.duration(age, Zero::Refused).or(default.age),
    };
    let defaults = defaults::RETENTION;
    let retention = Retention {
        changes: keep("changes", "changes_age", defaults.changes),
        deliveries: keep("deliveries", "deliveries_age", defaults.deliveries),
        outputs: keep("outputs", "outputs_age", defaults.outputs),
    };
    table.finish();
    retention
}
