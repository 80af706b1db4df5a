//! What a hook is told: one list of values, given as environment variables and as JSON on standard input.

use serde_json::{Map, Value, json};

use crate::domain::{Digest, Reference};
use crate::store::Claimed;

/// What one attempt of a delivery is told.
pub(crate) struct Message(Map<String, Value>);

impl Message {
    /// All values are validated or made by us, so a hook may use them without quoting worries.
    pub(crate) fn of(claimed: &Claimed) -> Self {
        let (_, watch, image, platform) = &claimed.watch;
        // The text is one that we wrote from a reference; were it damaged, the hook still gets it whole in `image`.
        let reference = Reference::parse(image).ok();
        let part = |part: fn(&Reference) -> &str| reference.as_ref().map(part).unwrap_or_default();
        let digest = claimed.to.as_ref().map(Digest::as_str);
        let pinned = reference.as_ref().zip(claimed.to.as_ref()).map(|(reference, digest)| reference.pinned(digest));
        let values = [
            ("change", json!(claimed.kind.as_str())),
            ("watch", json!(watch)),
            ("hook", json!(claimed.hook)),
            ("image", json!(image)),
            ("registry", json!(part(Reference::registry))),
            ("repository", json!(part(Reference::repository))),
            ("tag", json!(part(Reference::tag))),
            ("digest", json!(digest)),
            ("previous_digest", json!(claimed.from.as_ref().map(Digest::as_str))),
            ("pinned", json!(pinned)),
            ("platform", json!(platform)),
            ("index_digest", json!(claimed.index_digest.as_ref().map(Digest::as_str))),
            ("media_type", json!(claimed.media_type)),
            ("detected_at", json!(claimed.at.to_string())),
            ("delivery", json!(claimed.id)),
            ("attempt", json!(claimed.attempt)),
        ];
        Self(values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// `TAGHOOK_…`; what does not apply is set to nothing, so that `set -u` in a shell does not trip over it.
    pub(crate) fn vars(&self) -> Vec<(String, String)> {
        let text = |value: &Value| match value {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        self.0.iter().map(|(name, value)| (format!("TAGHOOK_{}", name.to_ascii_uppercase()), text(value))).collect()
    }

    /// One JSON object and a newline.
    pub(crate) fn json(&self) -> Vec<u8> {
        let mut bytes = Value::Object(self.0.clone()).to_string().into_bytes();
        bytes.push(b'\n');
        bytes
    }
}
