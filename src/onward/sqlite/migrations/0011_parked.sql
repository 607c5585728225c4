-- Keys whose events wait, by handler: since one of theirs became a dead letter there, until all that came behind it has
-- been handled. The row is the truth about its key: who parks an event behind it, and who frees it, writes to it first.
CREATE TABLE onward_blocked (
    id INTEGER PRIMARY KEY,
    subscription INTEGER NOT NULL REFERENCES onward_subscription (id),
    handler TEXT NOT NULL,
    key TEXT NOT NULL,
    partition INTEGER NOT NULL,             -- who has it claimed handles what waits
    letter INTEGER,                         -- the dead letter that everything waits for; NULL = it is decided
    due REAL,                               -- before which nothing of it is tried again; NULL = at once
    waiting INTEGER NOT NULL DEFAULT 0,     -- how many are parked
    UNIQUE (subscription, handler, key)
);
CREATE INDEX onward_blocked_decided ON onward_blocked (subscription, partition, id) WHERE letter IS NULL;
CREATE INDEX onward_blocked_letter ON onward_blocked (letter) WHERE letter IS NOT NULL;
CREATE TABLE onward_parked (
    id INTEGER PRIMARY KEY AUTOINCREMENT,   -- in the order of their key
    blocked INTEGER NOT NULL REFERENCES onward_blocked (id),
    partition INTEGER NOT NULL,
    offset INTEGER NOT NULL,                -- below 0 where the log it was in is no more
    attempts INTEGER NOT NULL DEFAULT 0,
    begun INTEGER NOT NULL DEFAULT 0,       -- tries since, of which nobody knows that they ended
    error TEXT NOT NULL DEFAULT '',
    fingerprint TEXT NOT NULL DEFAULT '',
    first_at REAL,
    event_id TEXT NOT NULL,
    event_type TEXT NOT NULL,
    event_version INTEGER NOT NULL,
    event_source TEXT NOT NULL,
    event_time INTEGER NOT NULL,            -- microseconds since the epoch
    extra BLOB,                             -- CloudEvents extension attributes as JSON; NULL = none
    value BLOB                              -- the bytes as they were
);
CREATE INDEX onward_parked_queue ON onward_parked (blocked, id);
