//! Every key of the config: its name, what its value is, and what it does.
//!
//! *Invariant:* this is the one list of keys. A table takes no key that is not in it; the remedies for unknown keys, the
//! JSON Schema and the order of `config show` follow it, and a test holds `config.example.toml` to its sentences. The
//! defaults are not here: they are those of the types ([`effective`](super::effective) reads them there). A new key
//! stands here, where it is read, in `effective` and in the example; the tests name what is still missing.

/// A key of one section.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// What it does, in sentences that the schema shows and the example repeats.
    pub(super) about: &'static str,
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Any string.
    Text,
    /// A string of a form of its own, of which this is an example.
    Form(&'static str),
    /// A duration, perhaps zero.
    Duration,
    /// The path of a file or directory.
    Path,
    /// `true` or `false`.
    Flag,
    /// A whole number of at least one.
    Count,
    /// A string or a list of strings.
    Texts,
    /// One or several of the changes.
    Changes,
    /// A table of strings.
    Variables,
}

/// The keys of one kind of table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Section {
    /// How the table is written; empty for the top of the file.
    pub(super) header: &'static str,
    /// Those that only this section has.
    own: &'static [Key],
    /// Those that it shares.
    shared: &'static [Key],
    /// The one that must be there.
    pub(super) required: Option<&'static str>,
}

impl Section {
    /// The keys, in the order in which they are shown.
    pub(super) fn keys(&self) -> impl Iterator<Item = &'static Key> + use<> {
        self.own.iter().chain(self.shared)
    }

    /// Whether there is such a key.
    pub(super) fn has(&self, name: &str) -> bool {
        self.keys().any(|key| key.name == name)
    }
}

const fn key(name: &'static str, kind: Kind, about: &'static str) -> Key {
    Key { name, kind, about }
}

/// The tables of the top level: their names, and their sections.
pub(super) const TABLES: [(&str, &Section); 5] =
    [("defaults", &DEFAULTS), ("retention", &RETENTION), ("watch", &WATCH), ("hook", &HOOK), ("registry", &REGISTRY)];

/// The top of the file.
pub(super) const TOP: Section = Section {
    header: "",
    own: &[
        key("state", Kind::Path, "Where the state is kept."),
        key("socket", Kind::Path, "The control socket."),
        key(
            "listen",
            Kind::Form("127.0.0.1:9464"),
            "An address and a port for metrics, health and status over HTTP; whoever can reach it may read them.",
        ),
        key(
            "shutdown_grace",
            Kind::Duration,
            "How long running hooks may go on when the agent stops; then they are ended, and run again after the next \
             start.",
        ),
    ],
    shared: &[],
    required: None,
};

/// `[retention]`
pub(super) const RETENTION: Section = Section {
    header: "[retention]",
    own: &[
        key("changes", Kind::Count, "So many changes of each watch, the newest."),
        key("changes_age", Kind::Duration, "No change that is older."),
        key("deliveries", Kind::Count, "So many finished deliveries of each watch and hook."),
        key("deliveries_age", Kind::Duration, "No finished delivery that is older."),
        key("outputs", Kind::Count, "What so many runs of each watch and hook have printed."),
        key("outputs_age", Kind::Duration, "No output that is older."),
    ],
    shared: &[],
    required: None,
};

/// `[defaults]`
pub(super) const DEFAULTS: Section = Section { header: "[defaults]", own: &[], shared: SETTINGS, required: None };

/// `[watch.NAME]`
pub(super) const WATCH: Section = Section {
    header: "[watch.NAME]",
    own: &[key(
        "image",
        Kind::Form("ghcr.io/acme/web:stable"),
        "The tag, as people write it: nginx, nginx:1.27, ghcr.io/acme/web:stable, localhost:5000/team/app:v1.",
    )],
    shared: SETTINGS,
    required: Some("image"),
};

/// What `[defaults]` and watches have in common.
const SETTINGS: &[Key] = &[
    key(
        "schedule",
        Kind::Form("15m"),
        "When to check: an interval, or a cron expression of five fields as in crontab(5), such as \"*/5 * * * *\" or \
         \"@daily\".",
    ),
    key("timezone", Kind::Form("Europe/Berlin"), "The time zone of cron expressions."),
    key(
        "jitter",
        Kind::Duration,
        "How far the due times of cron expressions are spread; intervals are spread by the watch's name anyway.",
    ),
    key("platform", Kind::Form("linux/arm64"), "Only a move of this platform's manifest counts."),
    key("settle", Kind::Duration, "How long a new digest must hold before it counts; \"3d\" gives a minimum age."),
    key(
        "confirm_after",
        Kind::Duration,
        "A digest that was replaced only recently is believed again if it is still there after this: mirrors may be \
         stale.",
    ),
    key("absent_after", Kind::Duration, "A tag counts as removed once it has been missing for this long."),
    key("hooks", Kind::Texts, "The hooks that are run, by name."),
    key("enabled", Kind::Flag, "Whether to check it by itself; false keeps a watch and its state."),
];

/// `[hook.NAME]`
pub(super) const HOOK: Section = Section {
    header: "[hook.NAME]",
    own: &[
        key(
            "command",
            Kind::Texts,
            "What to run: a string is given to /bin/sh -c; a list, such as [\"/usr/local/bin/redeploy\", \"web\"], is \
             run as it is.",
        ),
        key("on", Kind::Changes, "What to run it for: moved, first, removed, restored, failing, recovered."),
        key(
            "timeout",
            Kind::Duration,
            "How long one run may take; then its process group gets SIGTERM, and 10 s later SIGKILL.",
        ),
        key(
            "attempts",
            Kind::Count,
            "How often it is tried before the delivery is \"failed\", until it is retried by hand or the tag moves on.",
        ),
        key("backoff", Kind::Duration, "The pause after the first failure; it doubles with each further one."),
        key("backoff_max", Kind::Duration, "No pause is longer."),
        key("cwd", Kind::Path, "The working directory; it must exist."),
        key("env", Kind::Variables, "Variables to set; names that start with TAGHOOK_ are taghook's own."),
        key("pass_env", Kind::Texts, "Variables of the agent to pass on; the environment is otherwise clean."),
        key("concurrency", Kind::Count, "How many runs of this hook may go on at a time, over all watches."),
    ],
    shared: &[],
    required: Some("command"),
};

/// `[registry."HOST"]`
pub(super) const REGISTRY: Section = Section {
    header: "[registry.\"HOST\"]",
    own: &[
        key("username", Kind::Text, "The user; needs password_file or password_credential."),
        key(
            "password_file",
            Kind::Path,
            "The file that holds the password; it is read when it is needed, so that a new password is picked up.",
        ),
        key(
            "password_credential",
            Kind::Text,
            "Instead of password_file: a credential that systemd hands over, as in \
             LoadCredential=robot:/etc/taghook/robot.",
        ),
        key(
            "auth_file",
            Kind::Path,
            "A file like docker's config.json or podman's auth.json, looked at before the usual ones; it must exist.",
        ),
        key("ca_file", Kind::Path, "Certificates (PEM) that are trusted beside the system's."),
        key("client_cert", Kind::Path, "The certificate (PEM) that is shown to the registry."),
        key("client_key", Kind::Path, "The key (PEM) of client_cert."),
        key("plain_http", Kind::Flag, "Speak plain HTTP; the default is HTTPS, also for localhost."),
        key(
            "endpoint",
            Kind::Form("https://mirror.example.com/hub"),
            "Ask here instead, for example a mirror; the path is put before the repository's name: /v2/hub/NAME.",
        ),
        key("concurrency", Kind::Count, "How many checks may be under way at a time; 1 for public.ecr.aws."),
        key(
            "rate",
            Kind::Form("10/s"),
            "How many requests may be made: a number per second, minute or hour (\"600/m\", \"1000/h\"); \"1/s\" for \
             public.ecr.aws.",
        ),
        key("timeout", Kind::Duration, "How long one request may take."),
    ],
    shared: &[],
    required: None,
};
