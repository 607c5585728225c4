-- Events on their way to a broker that is not this file. What one transaction published is one row, or few, so that a
-- relay gives the events of a row their numbers with one update.
CREATE TABLE onward_outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,   -- in the order of commits; never that of a row that has left
    service TEXT NOT NULL,
    due INTEGER,                            -- microseconds since the epoch, before which it may not leave; NULL = none
    created_at INTEGER NOT NULL,            -- microseconds since the epoch
    events INTEGER NOT NULL,                -- how many
    body BLOB NOT NULL,                     -- the events, MessagePack
    epoch INTEGER,                          -- NULL until it has numbers: the relay's term that gave them, …
    turn INTEGER,                           -- … the row's place in that term, …
    incarnation BLOB,
    places BLOB,                            -- … and (partition, number) of each event, MessagePack
    CHECK ((epoch IS NULL) = (turn IS NULL) AND (epoch IS NULL) = (places IS NULL))
);
CREATE INDEX onward_outbox_waiting ON onward_outbox (service, id) WHERE epoch IS NULL AND due IS NULL;
CREATE INDEX onward_outbox_delayed ON onward_outbox (service, due, id) WHERE epoch IS NULL AND due IS NOT NULL;
CREATE UNIQUE INDEX onward_outbox_numbered ON onward_outbox (service, epoch, turn) WHERE epoch IS NOT NULL;
CREATE TABLE onward_relay (                 -- who may number, per service
    service TEXT PRIMARY KEY,
    epoch INTEGER NOT NULL,                 -- rises with each term
    token BLOB,                             -- random, one a term; NULL = given up
    until REAL NOT NULL                     -- seconds since the epoch, from which on another may begin a term
);
