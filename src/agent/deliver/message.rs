//! What a hook is told of its delivery. A new value is a new row here.

use serde_json::json;

use crate::domain::{Choice, Digest, Select, Tag};
use crate::hook::{self, Message};
use crate::store::Claimed;

/// Every value is validated or made by us, so that a hook may use it without quoting.
pub(crate) fn message(claimed: &Claimed) -> Message {
    let question = &claimed.question;
    let digest = |choice: &Option<Choice>| choice.as_ref().map(|choice| choice.digest.clone());
    let (to, from) = (digest(&claimed.to), digest(&claimed.from));
    let Select::Tag(watched) = &question.select;
    let tag: &Tag = claimed.to.as_ref().or(claimed.from.as_ref()).map_or(watched, |choice| &choice.tag);
    let pinned = to.as_ref().map(|digest| question.repository.pinned(digest));
    let values = [
        ("change", json!(claimed.kind)),
        ("watch", json!(claimed.watch_name)),
        ("hook", json!(claimed.hook)),
        ("image", json!(question.reference())),
        ("registry", json!(question.repository.registry())),
        ("repository", json!(question.repository.path())),
        ("tag", json!(tag)),
        ("digest", json!(to)),
        ("previous_digest", json!(from)),
        ("pinned", json!(pinned)),
        ("platform", json!(question.platform.as_ref().map(ToString::to_string))),
        ("index_digest", json!(claimed.index_digest.as_ref().map(Digest::as_str))),
        ("media_type", json!(claimed.media_type)),
        ("detected_at", json!(claimed.at.to_string())),
        (hook::DELIVERY, json!(claimed.id)),
        ("attempt", json!(claimed.attempt)),
    ];
    Message::new(values)
}
