//! Values in the form in which they may be written into a config.

use std::path::Path;
use std::time::Duration;

use toml::Value;

pub(super) fn text(text: &str) -> Option<Value> {
    Some(text.into())
}

pub(super) fn texts(texts: impl Iterator<Item = impl ToString>) -> Option<Value> {
    Some(Value::Array(texts.map(|text| Value::from(text.to_string())).collect()))
}

pub(super) fn path(path: &Path) -> Option<Value> {
    Some(path.display().to_string().into())
}

pub(super) fn duration(duration: Duration) -> Option<Value> {
    Some(human_duration(duration).into())
}

/// A duration as people write it: `1h 30m`.
pub fn human_duration(duration: Duration) -> String {
    let mut left = duration.as_millis();
    if left == 0 {
        return "0s".to_owned();
    }
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
    let parts = units.iter().filter_map(|(unit, length)| {
        let count = left / length;
        left %= length;
        (count > 0).then(|| format!("{count}{unit}"))
    });
    parts.collect::<Vec<_>>().join(" ")
}
