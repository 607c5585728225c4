-- Topics that take no events now, as the relay that leads found. What waits for them in onward.outbox has epoch 0, and in
-- turn its place among what waits so.
CREATE TABLE onward.barred (
    service text NOT NULL,
    topic text NOT NULL,
    why text NOT NULL,
    noted_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (service, topic)
);
