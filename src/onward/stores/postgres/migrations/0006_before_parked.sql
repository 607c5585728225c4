-- Keys whose events wait, by handler: since one of theirs became a dead letter there, until all that came behind it has
-- been handled. The row is the truth about its key: who parks an event behind it, and who frees it, locks it first.
CREATE TABLE onward.blocked (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subscription bigint NOT NULL REFERENCES onward.subscription,
    handler text NOT NULL,
    key bytea NOT NULL,                     -- UTF-8; no text column, since a key may hold NUL
    partition integer NOT NULL,             -- who has it claimed handles what waits
    letter bigint,                          -- the dead letter that everything waits for; NULL = it is decided
    due_at timestamptz,                     -- before which nothing of it is tried again; NULL = at once
    waiting bigint NOT NULL DEFAULT 0       -- how many are parked
) WITH (fillfactor = 50);
CREATE UNIQUE INDEX blocked_key ON onward.blocked (subscription, handler, sha256(key)); -- a key may be long
CREATE INDEX blocked_decided ON onward.blocked (subscription, partition, id) WHERE letter IS NULL;
CREATE INDEX blocked_letter ON onward.blocked (letter) WHERE letter IS NOT NULL;
CREATE TABLE onward.parked (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- in the order of their key
    blocked bigint NOT NULL REFERENCES onward.blocked,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,               -- below 0 where the log it was in is no more
    attempts integer NOT NULL DEFAULT 0,
    begun integer NOT NULL DEFAULT 0,       -- tries since, of which nobody knows that they ended
    error text NOT NULL DEFAULT '',
    fingerprint text NOT NULL DEFAULT '',
    first_at timestamptz,
    event_id text NOT NULL,
    event_type text NOT NULL,
    event_version integer NOT NULL,
    event_source text NOT NULL,
    event_time timestamptz NOT NULL,
    extra bytea,                            -- CloudEvents extension attributes as JSON; NULL = none
    value bytea                             -- the bytes as they were
);
CREATE INDEX parked_queue ON onward.parked (blocked, id);
