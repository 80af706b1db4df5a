//! The sections of a config: the top of the file, and the tables.
//!
//! *Invariant:* this is the one list of sections. A file can have no other table.

use super::hooks::HOOK;
use super::key::Key;
use super::registries::REGISTRY;
use super::retention::RETENTION;
use super::row::keys_of;
use super::top::TOP;
use super::watches::WATCH;

pub(super) struct Section {
    /// The name of the table; empty for the top of the file.
    pub(super) kind: &'static str,
    /// How the table is written.
    pub(super) header: &'static str,
    /// What the schema says about it.
    pub(super) about: &'static str,
    /// How the tables in it are named, if it has one table for each name.
    pub(super) names: Option<Names>,
    /// The key that must be there.
    pub(super) required: Option<&'static str>,
    /// In the order in which they are shown.
    pub(super) keys: fn() -> Vec<Key>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    Chosen,
    Hosts,
}

pub(super) static SECTIONS: [Section; 6] = [
    Section { kind: "", header: "", about: "", names: None, required: None, keys: || keys_of(&TOP) },
    Section {
        kind: "defaults",
        header: "[defaults]",
        about: "What holds for every watch that does not say otherwise.",
        names: None,
        required: None,
        keys: || keys_of(&WATCH[1..]),
    },
    Section {
        kind: "retention",
        header: "[retention]",
        about: "What is kept of the past, for history, deliveries and log. What is owed or has failed always is.",
        names: None,
        required: None,
        keys: || keys_of(&RETENTION),
    },
    Section {
        kind: "watch",
        header: "[watch.NAME]",
        about: "The watches by name: a tag each, and what is done when it moves.",
        names: Some(Names::Chosen),
        required: Some("image"),
        keys: || keys_of(&WATCH),
    },
    Section {
        kind: "hook",
        header: "[hook.NAME]",
        about: "The hooks by name: commands that run with the change in their environment.",
        names: Some(Names::Chosen),
        required: Some("command"),
        keys: || keys_of(&HOOK),
    },
    Section {
        kind: "registry",
        header: "[registry.\"HOST\"]",
        about: "Registries that need more than the defaults, by host and port.",
        names: Some(Names::Hosts),
        required: None,
        keys: || keys_of(&REGISTRY),
    },
];

impl Section {
    pub(super) fn has(&self, name: &str) -> bool {
        (self.keys)().iter().any(|key| key.name == name)
    }
}

/// The sections that are tables.
pub(super) fn tables() -> impl Iterator<Item = &'static Section> + Clone {
    SECTIONS.iter().filter(|section| !section.kind.is_empty())
}

pub(super) fn section(kind: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.kind == kind)
}
