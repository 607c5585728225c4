CREATE TABLE onward.identity (              -- one row: which store this is, to brokers that outlive it
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    id text NOT NULL
);
INSERT INTO onward.identity (id) VALUES (replace(gen_random_uuid()::text, '-', ''));

-- The accounts. A subscription is what shares a position: all transactional handlers of a service on a topic,
-- or one plain handler.
CREATE TABLE onward.subscription (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    service text NOT NULL,
    name text NOT NULL,
    topic text NOT NULL,
    ordered_commit boolean NOT NULL,        -- true: events are done in offset order; false: possibly beyond a gap
    created_at timestamptz NOT NULL DEFAULT now(),
    retired_at timestamptz,
    UNIQUE (service, name, topic)
);
CREATE TABLE onward.handler (
    subscription bigint NOT NULL REFERENCES onward.subscription,
    name text NOT NULL,
    kind text NOT NULL,
    start text NOT NULL,
    types text[] NOT NULL,                  -- wire types
    joined bigint[] NOT NULL,               -- the first offset owed, per partition; later partitions are owed whole
    PRIMARY KEY (subscription, name)
);
CREATE TABLE onward.account (
    subscription bigint NOT NULL REFERENCES onward.subscription,
    partition integer NOT NULL,
    token bytea,                            -- random, new at each claim; NULL = released cleanly
    revision bigint NOT NULL DEFAULT 0,
    owner text,                             -- member id of the claimant
    start_offset bigint NOT NULL,
    next_offset bigint NOT NULL,
    mark text NOT NULL DEFAULT '',          -- what the broker wants kept beside next_offset
    beyond bytea,                           -- offsets done past next_offset, an interval set
    unclean integer NOT NULL DEFAULT 0,     -- claims since the last commit
    suspect_until bigint NOT NULL DEFAULT 0,
    moved_at timestamptz,                   -- when a commit last moved it
    PRIMARY KEY (subscription, partition)
) WITH (fillfactor = 50);                   -- updated with each batch: room for new versions on the same page
CREATE TABLE onward.shift (                 -- a log that did not go on where an account stood
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subscription bigint NOT NULL REFERENCES onward.subscription,
    partition integer NOT NULL,
    from_offset bigint NOT NULL,
    to_offset bigint NOT NULL,
    anew boolean NOT NULL,                  -- another log of the same name, whose offsets mean other events
    lost bigint,                            -- offsets that were never handled; NULL = they can't be counted
    why text NOT NULL,
    at timestamptz NOT NULL
);
CREATE TABLE onward.tally (
    subscription bigint NOT NULL,
    partition integer NOT NULL,
    handler text NOT NULL,                  -- '' = no handler was chosen
    succeeded bigint NOT NULL DEFAULT 0,
    dead bigint NOT NULL DEFAULT 0,
    discarded bigint NOT NULL DEFAULT 0,
    skipped bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (subscription, partition, handler)
) WITH (fillfactor = 50);
CREATE TABLE onward.attempt (               -- only events that failed or are suspect have a row
    subscription bigint NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    handler text NOT NULL,                  -- '' = the event as a whole
    attempts integer NOT NULL,
    error text NOT NULL,
    fingerprint text NOT NULL,
    first_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    PRIMARY KEY (subscription, partition, "offset", handler)
);
CREATE TABLE onward.dead_letter (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subscription bigint NOT NULL REFERENCES onward.subscription,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    handler text NOT NULL,                  -- '' = failed before any handler was chosen
    state text NOT NULL CHECK (state IN ('dead', 'retrying', 'recovered', 'discarded')),
    cause text NOT NULL,
    error text NOT NULL,
    detail text NOT NULL,                   -- the traceback, bounded
    fingerprint text NOT NULL,
    attempts integer NOT NULL,
    first_at timestamptz NOT NULL,
    died_at timestamptz NOT NULL,
    event_id text NOT NULL,
    event_type text NOT NULL,
    event_version integer NOT NULL,
    event_source text NOT NULL,
    event_time timestamptz NOT NULL,
    event_key bytea,                        -- UTF-8; no text column, since a key may hold NUL
    extra bytea,                            -- CloudEvents extension attributes as JSON; NULL = none
    value bytea,                            -- the bytes as they were
    UNIQUE (subscription, partition, "offset", handler)
);
CREATE INDEX dead_letter_retrying ON onward.dead_letter (subscription, partition) WHERE state = 'retrying';
CREATE INDEX dead_letter_waiting ON onward.dead_letter (id) WHERE state IN ('dead', 'retrying');

-- What a service says must always hold; the audit runs it. A row that comes back is a violation.
CREATE TABLE onward.invariant (
    service text NOT NULL,
    name text NOT NULL,
    sql text NOT NULL,
    PRIMARY KEY (service, name)
);

-- Events on their way out. What one transaction published is one row, or few, inserted last in it. A relay gives a row
-- its places once, before any of its events leaves; a later term of a relay sends again by (epoch, turn).
CREATE TABLE onward.outbox (
    -- No CACHE: a session would give out late the ids that it keeps, when reading begins behind them already.
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    service text NOT NULL,
    due_at timestamptz,                     -- not to leave before; NULL = at once
    created_at timestamptz NOT NULL,        -- by the server's clock
    events integer NOT NULL,                -- how many
    body bytea NOT NULL,                    -- the events, MessagePack
    epoch bigint,                           -- NULL until it has numbers: the relay's term that gave them, ...
    turn bigint,                            -- ... the row's place in that term, ...
    incarnation bytea,
    places bytea,                           -- ... and (partition, number) of each event, MessagePack
    CHECK (num_nulls(epoch, turn, incarnation, places) IN (0, 4))
) WITH (autovacuum_vacuum_scale_factor = 0.05);
-- due_at comes before id although it is mostly NULL: in this order no other index has the rows, so the planner can't
-- prefer one in which it would pass all that has numbers.
CREATE INDEX outbox_waiting ON onward.outbox (service, due_at, id) WHERE epoch IS NULL;
CREATE UNIQUE INDEX outbox_numbered ON onward.outbox (service, epoch, turn) WHERE epoch IS NOT NULL;

-- Who may number, per service; and where reading begins, as what has left an index is in its way until a vacuum.
CREATE TABLE onward.relay (
    service text PRIMARY KEY,
    epoch bigint NOT NULL,                  -- rises with each term
    token bytea,                            -- random, new with each term; NULL = given up
    until timestamptz NOT NULL,             -- by the server's clock: from then on another may begin a term
    revision bigint NOT NULL DEFAULT 0,     -- raised by each numbering; lower than the leader knows it in an older copy
    waiting_after bigint NOT NULL DEFAULT 0,-- what waits for no time and has no numbers has a higher id, and always will
    ceiling bigint NOT NULL DEFAULT 0,      -- the next waiting_after, at most, when these have ended ...
    writers text[] NOT NULL DEFAULT '{}',   -- ... who may still commit a row with a lower id
    first_epoch bigint NOT NULL DEFAULT 0,  -- what has numbers got them at this place or later, and always will
    first_turn bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
