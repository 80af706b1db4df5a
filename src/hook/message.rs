//! What a hook is told: one list of values, given to commands as environment variables and as JSON on standard input.

use serde_json::{Map, Value};

/// The name under which a hook is told which delivery it runs for. Processes that outlived an agent are found by it.
pub const DELIVERY: &str = "delivery";

/// The name of the environment variable for a value of this name.
pub(super) fn variable(name: &str) -> String {
    format!("TAGHOOK_{}", name.to_ascii_uppercase())
}

/// The values that one attempt is told, by name.
pub struct Message(Map<String, Value>);

impl Message {
    pub fn new(values: impl IntoIterator<Item = (&'static str, Value)>) -> Self {
        Self(values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// `TAGHOOK_…`. What does not apply is set to nothing, so that `set -u` in a shell does not trip over it.
    pub(super) fn vars(&self) -> Vec<(String, String)> {
        let text = |value: &Value| match value {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        self.0.iter().map(|(name, value)| (variable(name), text(value))).collect()
    }

    /// One JSON object and a newline.
    pub(super) fn json(&self) -> Vec<u8> {
        let mut bytes = Value::Object(self.0.clone()).to_string().into_bytes();
        bytes.push(b'\n');
        bytes
    }
}
