-- Topics that take no events now, as the relay that leads found. What waits for them in onward_outbox has epoch 0, and in
-- turn its place among what waits so.
CREATE TABLE onward_barred (
    service TEXT NOT NULL,
    topic TEXT NOT NULL,
    why TEXT NOT NULL,
    noted_at INTEGER NOT NULL,              -- microseconds since the epoch
    PRIMARY KEY (service, topic)
) WITHOUT ROWID;
