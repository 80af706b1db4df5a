-- The state of a watch belongs to its name, reference and platform ('' where none is chosen).
CREATE TABLE watches (
    id           INTEGER PRIMARY KEY,
    name         TEXT NOT NULL,
    reference    TEXT NOT NULL,
    platform     TEXT NOT NULL,
    paused       INTEGER NOT NULL DEFAULT 0,
    digest       TEXT,
    index_digest TEXT,
    media_type   TEXT,
    since        INTEGER,
    absent_since INTEGER,
    last_checked INTEGER,
    last_ok      INTEGER,
    memory       TEXT NOT NULL DEFAULT '{}', -- JSON: candidate, recent, missing, trouble
    UNIQUE (name, reference, platform)
) STRICT;

CREATE TABLE changes (
    id           INTEGER PRIMARY KEY,
    watch        INTEGER NOT NULL REFERENCES watches,
    kind         TEXT NOT NULL,
    from_digest  TEXT,
    to_digest    TEXT,
    index_digest TEXT,
    media_type   TEXT,
    at           INTEGER NOT NULL
) STRICT;
CREATE INDEX changes_of_watch ON changes (watch);

CREATE TABLE deliveries (
    number         INTEGER PRIMARY KEY, -- in the order in which they were owed
    id             TEXT NOT NULL UNIQUE,
    watch          INTEGER NOT NULL REFERENCES watches,
    hook           TEXT NOT NULL,
    change         INTEGER NOT NULL REFERENCES changes,
    lane           TEXT NOT NULL,
    target         TEXT NOT NULL, -- a digest, or absent, failing, well
    from_digest    TEXT,          -- of the latest attempt; before the first, the change's
    state          TEXT NOT NULL,
    held           INTEGER NOT NULL DEFAULT 0, -- its watch does not feed its hook at the moment
    due            INTEGER,       -- while pending
    attempts       INTEGER NOT NULL DEFAULT 0,
    deferrals      INTEGER NOT NULL DEFAULT 0,
    deferred_since INTEGER,
    exit_code      INTEGER,
    error          TEXT,
    ended          INTEGER
) STRICT;
CREATE INDEX deliveries_due ON deliveries (hook, due) WHERE state = 'pending';
CREATE INDEX deliveries_pending ON deliveries (watch, lane, hook) WHERE state = 'pending';
CREATE INDEX deliveries_running ON deliveries (watch, hook) WHERE state = 'running';
CREATE INDEX deliveries_failed ON deliveries (watch, hook, lane) WHERE state = 'failed';
CREATE INDEX deliveries_of_watch ON deliveries (watch);
CREATE INDEX deliveries_of_change ON deliveries (change);

-- Where a hook stands with a watch: what it last succeeded for, and what it was started for since then.
CREATE TABLE cursors (
    watch     INTEGER NOT NULL REFERENCES watches,
    hook      TEXT NOT NULL,
    lane      TEXT NOT NULL,
    reached   TEXT,
    attempted TEXT,
    PRIMARY KEY (watch, hook, lane)
) STRICT, WITHOUT ROWID;

CREATE TABLE attempts (
    delivery  INTEGER NOT NULL REFERENCES deliveries,
    attempt   INTEGER NOT NULL,
    started   INTEGER NOT NULL,
    ended     INTEGER,
    exit_code INTEGER,
    error     TEXT,
    output    TEXT,
    PRIMARY KEY (delivery, attempt)
) STRICT, WITHOUT ROWID;

-- One row: when the agent was last known to be alive.
CREATE TABLE heartbeat (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    at INTEGER NOT NULL
) STRICT;
