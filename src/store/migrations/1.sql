-- One row per name, reference and platform ('' if the watch selects none): an edited watch starts with a new row.
CREATE TABLE watches (
    id           INTEGER PRIMARY KEY,
    name         TEXT NOT NULL,
    reference    TEXT NOT NULL,
    platform     TEXT NOT NULL,
    paused       INTEGER NOT NULL DEFAULT 0,
    tag          TEXT,
    digest       TEXT,
    index_digest TEXT,
    media_type   TEXT,
    since        INTEGER,
    absent_since INTEGER,
    last_checked INTEGER,
    last_ok      INTEGER,
    memory       TEXT NOT NULL DEFAULT '{}', -- JSON: candidate, recent, missing, failing
    UNIQUE (name, reference, platform)
) STRICT;

-- Which hooks hear of which changes of a watch, by the config that was last loaded.
CREATE TABLE subscriptions (
    watch INTEGER NOT NULL REFERENCES watches,
    hook  TEXT NOT NULL,
    kinds TEXT NOT NULL, -- kinds of change, separated by commas
    position INTEGER NOT NULL, -- in the watch's list of hooks, from 0
    PRIMARY KEY (watch, hook)
) STRICT, WITHOUT ROWID;

CREATE TABLE changes (
    id           INTEGER PRIMARY KEY,
    watch        INTEGER NOT NULL REFERENCES watches,
    kind         TEXT NOT NULL,
    lane         TEXT NOT NULL,
    cause        TEXT NOT NULL,
    from_tag     TEXT,
    from_digest  TEXT,
    to_tag       TEXT,
    to_digest    TEXT,
    index_digest TEXT,
    media_type   TEXT,
    at           INTEGER NOT NULL
) STRICT;
CREATE INDEX changes_of_watch ON changes (watch);

-- A delivery whose watch and hook have no subscription is held: the config does not name that hook for that watch.
CREATE TABLE deliveries (
    number         INTEGER PRIMARY KEY, -- in the order of creation
    id             TEXT NOT NULL UNIQUE,
    watch          INTEGER NOT NULL REFERENCES watches,
    hook           TEXT NOT NULL,
    change         INTEGER NOT NULL REFERENCES changes,
    lane           TEXT NOT NULL,
    target         TEXT NOT NULL, -- TAG@DIGEST, or absent, failing, well
    last_kinds     TEXT,          -- if the hook has left the watch: what it subscribed to until then, as in subscriptions
    from_tag       TEXT,          -- where the latest attempt started from; before the first, where one would
    from_digest    TEXT,
    state          TEXT NOT NULL,
    due            INTEGER,       -- only while pending
    attempts       INTEGER NOT NULL DEFAULT 0,
    deferrals      INTEGER NOT NULL DEFAULT 0,
    deferred_since INTEGER,
    code           INTEGER,       -- of the latest attempt, like error and ended
    error          TEXT,
    ended          INTEGER
) STRICT;
CREATE INDEX deliveries_due ON deliveries (hook, due) WHERE state = 'pending';
CREATE INDEX deliveries_pending ON deliveries (watch, lane, hook) WHERE state = 'pending';
CREATE INDEX deliveries_running ON deliveries (watch, hook) WHERE state = 'running';
CREATE INDEX deliveries_failed ON deliveries (watch, hook, lane) WHERE state = 'failed';
CREATE INDEX deliveries_of_watch ON deliveries (watch);
CREATE INDEX deliveries_of_change ON deliveries (change);

-- Where a hook stands with a watch: the target of its last success, and the target that it has attempted since.
CREATE TABLE cursors (
    watch     INTEGER NOT NULL REFERENCES watches,
    hook      TEXT NOT NULL,
    lane      TEXT NOT NULL,
    reached   TEXT,
    attempted TEXT,
    PRIMARY KEY (watch, hook, lane)
) STRICT, WITHOUT ROWID;

CREATE TABLE attempts (
    delivery INTEGER NOT NULL REFERENCES deliveries,
    attempt  INTEGER NOT NULL,
    started  INTEGER NOT NULL,
    ended    INTEGER,
    code     INTEGER, -- a command's exit status
    error    TEXT,
    output   TEXT,
    PRIMARY KEY (delivery, attempt)
) STRICT, WITHOUT ROWID;

-- One row: when the agent was last known to be alive.
CREATE TABLE heartbeat (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    at INTEGER NOT NULL
) STRICT;

-- One row: when expiry last finished with all watches.
CREATE TABLE expiry (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    at INTEGER NOT NULL
) STRICT;
