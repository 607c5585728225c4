-- From here on every event that a subscription is past counts with each of its handlers, be it as skipped: of a type
-- for others, or older than the handler. What passed before is counted up. A position that several handlers share is
-- done in order, so nothing lies beyond it; one that is not has a single handler, which skipped nothing for another.
INSERT INTO onward_tally (subscription, partition, handler, skipped)
SELECT a.subscription, a.partition, h.name, a.next_offset - a.start_offset
  - coalesce((SELECT t.skipped + t.dead + t.discarded FROM onward_tally t
      WHERE (t.subscription, t.partition, t.handler) = (a.subscription, a.partition, '')), 0)
  - coalesce((SELECT t.succeeded + t.dead + t.discarded FROM onward_tally t
      WHERE (t.subscription, t.partition, t.handler) = (a.subscription, a.partition, h.name)), 0)
FROM onward_account a
JOIN onward_subscription s ON s.id = a.subscription AND s.ordered_commit = 1
JOIN onward_handler h ON h.subscription = a.subscription
WHERE true
ON CONFLICT DO UPDATE SET skipped = excluded.skipped;
