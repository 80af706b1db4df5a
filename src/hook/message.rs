//! The values that a hook receives. Commands get them as environment variables and as JSON on standard input.

use serde_json::{Map, Value};

/// The name of the value with the delivery's id, which hooks can use as an idempotency key. It also serves to find
/// processes that outlived a killed agent.
pub const DELIVERY: &str = "delivery";

/// The environment variable of a value.
pub(super) fn variable(name: &str) -> String {
    format!("TAGHOOK_{}", name.to_ascii_uppercase())
}

/// The values for one attempt, by name.
pub struct Message(Map<String, Value>);

impl Message {
    pub fn new(values: impl IntoIterator<Item = (&'static str, Value)>) -> Self {
        Self(values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// The environment variables `TAGHOOK_…`. A value that does not apply is empty rather than unset, because scripts
    /// with `set -u` abort on an unset variable.
    pub(super) fn vars(&self) -> Vec<(String, String)> {
        let text = |value: &Value| match value {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        self.0.iter().map(|(name, value)| (variable(name), text(value))).collect()
    }

    /// One JSON object, followed by a newline.
    pub(super) fn json(&self) -> Vec<u8> {
        let mut bytes = Value::Object(self.0.clone()).to_string().into_bytes();
        bytes.push(b'\n');
        bytes
    }
}
