-- A topic whose log this file does not hold. Its lanes keep what was last known of the ends of its partitions.
ALTER TABLE onward_topic ADD COLUMN broker TEXT NOT NULL DEFAULT ''; -- who holds the log; '' = this file
ALTER TABLE onward_account ADD COLUMN mark TEXT NOT NULL DEFAULT ''; -- what that broker wants kept beside next_offset
CREATE TABLE onward_shift (                 -- a log that did not go on where an account stood
    id INTEGER PRIMARY KEY,
    subscription INTEGER NOT NULL REFERENCES onward_subscription (id),
    partition INTEGER NOT NULL,
    from_offset INTEGER NOT NULL,
    to_offset INTEGER NOT NULL,
    anew INTEGER NOT NULL,                  -- 1: another log of the same name, whose offsets mean other events
    lost INTEGER,                           -- offsets that were never handled; NULL = they can't be counted
    why TEXT NOT NULL,
    at REAL NOT NULL
);
CREATE TABLE onward_identity (id TEXT NOT NULL); -- one row: which store this is, to brokers that outlive it
INSERT INTO onward_identity VALUES (lower(hex(randomblob(16))));
