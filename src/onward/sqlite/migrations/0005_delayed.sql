-- Events published for a later time. The transaction that appends one to the log, once it is due, deletes it here.
CREATE TABLE onward_delayed (
    id INTEGER PRIMARY KEY,                 -- in the order of publishing
    due INTEGER NOT NULL,                   -- microseconds since the epoch, as `time`
    topic INTEGER NOT NULL REFERENCES onward_topic (id),
    kind INTEGER NOT NULL,                  -- what follows becomes the row of onward_log as it is
    value BLOB,
    key TEXT,
    event_id BLOB NOT NULL,
    source INTEGER NOT NULL,
    time INTEGER NOT NULL,                  -- of publishing
    extra BLOB
);
CREATE INDEX onward_delayed_due ON onward_delayed (due); -- and by id within one time, as rowids are part of an index
ALTER TABLE onward_topic ADD COLUMN delayed INTEGER NOT NULL DEFAULT 0;       -- how many wait; a count would read all
ALTER TABLE onward_topic ADD COLUMN delayed_bytes INTEGER NOT NULL DEFAULT 0; -- sum of their values' lengths
