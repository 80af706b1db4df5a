-- One row: when the past was last cut down to what the config keeps.
CREATE TABLE expiry (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    at INTEGER NOT NULL
) STRICT;
