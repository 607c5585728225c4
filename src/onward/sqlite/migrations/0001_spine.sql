-- The log. One row an event; its identity is (lane, offset), dense per lane, packed into the rowid:
-- pos = lane << 40 | offset. A batch of one partition is one range scan, and no second index is kept.
CREATE TABLE onward_topic (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    partitions INTEGER NOT NULL,            -- fixed at creation
    keep_age_s REAL NOT NULL,               -- handled events older than this may be pruned
    keep_bytes INTEGER NOT NULL,            -- handled events beyond this size may be pruned, oldest first
    backlog_bytes INTEGER NOT NULL,         -- publishing is refused when unhandled events reach this size
    created_at REAL NOT NULL                -- seconds since the epoch, as every *_at below
);
CREATE TABLE onward_lane (                  -- one row per partition: the counter its offsets come from
    id INTEGER PRIMARY KEY,
    topic INTEGER NOT NULL REFERENCES onward_topic (id),
    partition INTEGER NOT NULL,
    next_offset INTEGER NOT NULL DEFAULT 0,
    first_offset INTEGER NOT NULL DEFAULT 0, -- everything below was pruned
    bytes INTEGER NOT NULL DEFAULT 0,        -- sum of value lengths from first_offset on
    UNIQUE (topic, partition)
);
CREATE TABLE onward_log (
    pos INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,                  -- onward_kind.id; 0 = the record named no type
    value BLOB,                             -- plain JSON as published; NULL = no value
    key TEXT,
    id BLOB NOT NULL,                       -- 16 bytes of a UUID, or the text of a foreign id
    source INTEGER NOT NULL,                -- onward_source.id
    time INTEGER NOT NULL,                  -- microseconds since the epoch
    extra BLOB                              -- CloudEvents extension attributes as JSON; NULL = none
);
CREATE TABLE onward_kind (
    id INTEGER PRIMARY KEY,
    type TEXT NOT NULL,
    version INTEGER NOT NULL,
    UNIQUE (type, version)
);
CREATE TABLE onward_source (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);

-- The accounts. A subscription is what shares a position: all transactional handlers of a service on a topic,
-- or one plain handler.
CREATE TABLE onward_subscription (
    id INTEGER PRIMARY KEY,
    service TEXT NOT NULL,
    name TEXT NOT NULL,
    topic INTEGER NOT NULL REFERENCES onward_topic (id),
    ordered_commit INTEGER NOT NULL,        -- 1: events are done in offset order; 0: possibly beyond a gap
    created_at REAL NOT NULL,
    retired_at REAL,
    UNIQUE (service, name, topic)
);
CREATE TABLE onward_handler (
    subscription INTEGER NOT NULL REFERENCES onward_subscription (id),
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    start TEXT NOT NULL,
    types TEXT NOT NULL,                    -- JSON array of wire types
    joined TEXT NOT NULL,                   -- JSON array: the first offset owed, per partition
    PRIMARY KEY (subscription, name)
) WITHOUT ROWID;
CREATE TABLE onward_account (
    subscription INTEGER NOT NULL REFERENCES onward_subscription (id),
    partition INTEGER NOT NULL,
    token BLOB,                             -- random, new at each claim; NULL = released cleanly
    revision INTEGER NOT NULL DEFAULT 0,
    owner TEXT,                             -- member id of the claimant
    start_offset INTEGER NOT NULL,
    next_offset INTEGER NOT NULL,
    beyond BLOB,                            -- offsets done past next_offset, an interval set
    unclean INTEGER NOT NULL DEFAULT 0,     -- claims since the last commit
    suspect_until INTEGER NOT NULL DEFAULT 0,
    moved_at REAL,                          -- when a commit last moved it
    PRIMARY KEY (subscription, partition)
) WITHOUT ROWID;
CREATE TABLE onward_done (                  -- marks written inside a plain handler's own transaction, until folded
    subscription INTEGER NOT NULL,
    partition INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    PRIMARY KEY (subscription, partition, offset)
) WITHOUT ROWID;
CREATE TABLE onward_tally (
    subscription INTEGER NOT NULL,
    partition INTEGER NOT NULL,
    handler TEXT NOT NULL,
    succeeded INTEGER NOT NULL DEFAULT 0,
    dead INTEGER NOT NULL DEFAULT 0,
    discarded INTEGER NOT NULL DEFAULT 0,
    skipped INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (subscription, partition, handler)
) WITHOUT ROWID;
CREATE TABLE onward_attempt (               -- only events that failed or are suspect have a row
    subscription INTEGER NOT NULL,
    partition INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    handler TEXT NOT NULL,                  -- '' = the event as a whole (marks before a suspect run)
    attempts INTEGER NOT NULL,
    error TEXT,
    fingerprint TEXT,
    first_at REAL NOT NULL,
    last_at REAL NOT NULL,
    PRIMARY KEY (subscription, partition, offset, handler)
) WITHOUT ROWID;
CREATE TABLE onward_dead_letter (
    id INTEGER PRIMARY KEY,
    subscription INTEGER NOT NULL REFERENCES onward_subscription (id),
    partition INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    handler TEXT NOT NULL,                  -- '' = failed before any handler was chosen
    state TEXT NOT NULL CHECK (state IN ('dead', 'retrying', 'recovered', 'discarded')),
    cause TEXT NOT NULL,                    -- decode, fatal, exhausted, died
    error TEXT NOT NULL,
    detail TEXT NOT NULL,                   -- the traceback, bounded
    fingerprint TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    first_at REAL NOT NULL,
    died_at REAL NOT NULL,
    event_id TEXT NOT NULL,
    event_type TEXT NOT NULL,
    event_version INTEGER NOT NULL,
    event_source TEXT NOT NULL,
    event_time INTEGER NOT NULL,
    event_key TEXT,
    extra BLOB,
    value BLOB,                             -- the bytes as they were
    UNIQUE (subscription, partition, offset, handler)
);
CREATE INDEX onward_dead_letter_retrying ON onward_dead_letter (subscription, partition) WHERE state = 'retrying';

-- What a service says must always hold; the audit runs it. A row that comes back is a violation.
CREATE TABLE onward_invariant (
    service TEXT NOT NULL,
    name TEXT NOT NULL,
    sql TEXT NOT NULL,
    PRIMARY KEY (service, name)
) WITHOUT ROWID;

-- Who reads a partition: the group protocol of the one-file broker. Liveness itself is kept outside the file.
CREATE TABLE onward_lease (
    group_name TEXT NOT NULL,
    topic INTEGER NOT NULL REFERENCES onward_topic (id),
    partition INTEGER NOT NULL,
    member TEXT,                            -- NULL = given back cleanly
    PRIMARY KEY (group_name, topic, partition)
) WITHOUT ROWID;
