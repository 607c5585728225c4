-- Events that a broker will never take, such as larger ones than their topic does: dead letters of who published them.
CREATE TABLE onward_refused (
    id INTEGER PRIMARY KEY,
    service TEXT NOT NULL,
    refused_at INTEGER NOT NULL,            -- microseconds since the epoch
    why TEXT NOT NULL,
    topic TEXT NOT NULL,
    type TEXT NOT NULL,
    version INTEGER NOT NULL,
    key TEXT,
    value BLOB,
    event_id BLOB NOT NULL,                 -- 16 bytes of a UUID, or the text of a foreign id
    source TEXT NOT NULL,
    extra BLOB                              -- CloudEvents extension attributes as JSON; NULL = none
);
CREATE UNIQUE INDEX onward_refused_event ON onward_refused (service, source, event_id);
