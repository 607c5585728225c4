"""The statements of the outbox. `$1` is the service in each; a time that is NULL is the server's own."""

APPEND = (
    "INSERT INTO onward.outbox (service, due_at, created_at, events, body)"
    " VALUES ($1, $2, coalesce($3::timestamptz, clock_timestamp()), $4, $5)"
)

# What would not be opened for its size does not travel; in both, `so_far` is the bytes up to a row's end.
NUMBERED = (
    "SELECT id, (extract(epoch FROM created_at) * 1000000)::bigint, body, epoch, turn, incarnation, places FROM"
    " (SELECT *, sum(octet_length(body)) OVER (ORDER BY epoch, turn ROWS UNBOUNDED PRECEDING) AS so_far"
    " FROM onward.outbox WHERE service = $1 AND epoch > 0 AND (epoch, turn) >"
    " (coalesce($4::bigint, (SELECT greatest(first_epoch, 1) FROM onward.relay WHERE service = $1), 1),"
    " coalesce($5::bigint, (SELECT first_turn - 1 FROM onward.relay WHERE service = $1), -1))"
    " ORDER BY epoch, turn LIMIT $2) AS found"
    " WHERE so_far <= $3 OR so_far = octet_length(body) ORDER BY epoch, turn"
)
ASIDE = (  # of epoch 0: nobody but the relay that leads puts anything there, so a reader may go on behind a place
    "SELECT id, (extract(epoch FROM created_at) * 1000000)::bigint, body, epoch, turn, incarnation, places FROM"
    " (SELECT *, sum(octet_length(body)) OVER (ORDER BY turn ROWS UNBOUNDED PRECEDING) AS so_far"
    " FROM onward.outbox WHERE service = $1 AND epoch = 0 AND turn > $4 ORDER BY turn LIMIT $2) AS found"
    " WHERE so_far <= $3 OR so_far = octet_length(body) ORDER BY turn"
)
WAITING = (
    "SELECT id, (extract(epoch FROM created_at) * 1000000)::bigint, body, epoch, turn, incarnation, places FROM"
    " (SELECT *, sum(octet_length(body)) OVER (ORDER BY due_at, id ROWS UNBOUNDED PRECEDING) AS so_far FROM ("
    "(SELECT * FROM onward.outbox WHERE service = $1 AND epoch IS NULL"
    " AND due_at <= coalesce($4::timestamptz, statement_timestamp()) ORDER BY due_at, id LIMIT $2)"
    " UNION ALL "
    "(SELECT * FROM onward.outbox WHERE service = $1 AND epoch IS NULL AND due_at IS NULL"
    " AND id > coalesce((SELECT waiting_after FROM onward.relay WHERE service = $1), 0)"
    " ORDER BY due_at, id LIMIT $2)"
    ") AS each ORDER BY due_at, id LIMIT $2) AS found"  # NULLs come last: what had to wait is before the others
    " WHERE so_far <= $3 OR so_far = octet_length(body) ORDER BY due_at, id"
)
STATS = (  # each the first of an index: how much waits makes no difference
    "SELECT least("
    "(SELECT greatest(due_at, created_at) FROM onward.outbox WHERE service = $1 AND epoch = 0 ORDER BY turn LIMIT 1), "
    "(SELECT greatest(due_at, created_at) FROM onward.outbox WHERE service = $1 AND epoch > 0"
    " AND (epoch, turn) >= (coalesce((SELECT greatest(first_epoch, 1) FROM onward.relay WHERE service = $1), 1),"
    " coalesce((SELECT first_turn FROM onward.relay WHERE service = $1), 0))"
    " ORDER BY epoch, turn LIMIT 1), "
    "(SELECT created_at FROM onward.outbox WHERE service = $1 AND epoch IS NULL AND due_at IS NULL"
    " AND id > coalesce((SELECT waiting_after FROM onward.relay WHERE service = $1), 0)"
    " ORDER BY due_at, id LIMIT 1), "
    "(SELECT greatest(due_at, created_at) FROM onward.outbox WHERE service = $1 AND epoch IS NULL"
    " AND due_at <= coalesce($2::timestamptz, statement_timestamp()) ORDER BY due_at, id LIMIT 1)), "
    "EXISTS (SELECT FROM onward.relay WHERE service = $1 AND token IS NOT NULL"
    " AND until > coalesce($2::timestamptz, clock_timestamp()))"
)

TAKE = (  # locks nothing while another has the lease: whoever waits for it is in nobody's way
    "UPDATE onward.relay SET epoch = epoch + 1, token = $2, revision = revision + 1,"
    " until = coalesce($4::timestamptz, clock_timestamp()) + make_interval(secs => $3)"
    " WHERE service = $1 AND (token IS NULL OR until <= coalesce($4::timestamptz, clock_timestamp()))"
    " RETURNING epoch, revision"
)
TAKE_FIRST = (
    "INSERT INTO onward.relay (service, epoch, token, until)"
    " VALUES ($1, 1, $2, coalesce($4::timestamptz, clock_timestamp()) + make_interval(secs => $3))"
    " ON CONFLICT DO NOTHING RETURNING epoch, revision"
)
PROLONG = (
    "UPDATE onward.relay SET token = CASE WHEN $3 > 0 THEN token END,"
    " until = coalesce($4::timestamptz, clock_timestamp()) + make_interval(secs => $3)"
    " WHERE service = $1 AND token = $2"
)
# Logical replication copies rows and no sequences: what took over from another server may give ids out from 1 again.
BEGIN_ANEW = (
    "UPDATE onward.relay SET waiting_after = 0, ceiling = 0, writers = '{}' WHERE service = $1"
    " AND greatest(waiting_after, ceiling) > CASE WHEN has_sequence_privilege('onward.outbox_id_seq', 'SELECT, USAGE')"
    " THEN coalesce(pg_sequence_last_value('onward.outbox_id_seq'), 0) END"
)
# The revision is lower than the leader knows it where the server has become another, to which not all had been copied.
COMPARE = "SELECT FROM onward.relay WHERE service = $1 AND token = $2 AND revision >= $3 FOR SHARE"

# One statement compares, numbers and, where it did not number all of them, fails: so that it travels with its COMMIT.
# It gives whether the term is ours. What it locks first is the row of the relay, as whoever begins another term does.
#
# At the first place or later, as the next leader would not find what lies before it. The planner, which knows little of
# a table that fills and empties, is left one way: each id in the primary key (and not, as `epoch IS NULL` would allow,
# in the index of what waits, from end to end), and from there to the row.
NUMBER = (
    "WITH ours AS (UPDATE onward.relay SET revision = revision + 1"
    " WHERE service = $1 AND token = $2 AND revision >= $3 RETURNING first_epoch, first_turn),"
    " numbered AS (UPDATE onward.outbox AS o"
    " SET epoch = f.epoch, turn = f.turn, incarnation = f.incarnation, places = f.places"
    " FROM (SELECT n.*, w.place FROM ours,"
    " unnest($4::bigint[], $5::bigint[], $6::bigint[], $7::bytea[], $8::bytea[], $9::bigint[])"
    " AS n (id, epoch, turn, incarnation, places, created),"
    " LATERAL (SELECT ctid AS place FROM onward.outbox"
    " WHERE id = n.id AND service = $1 AND coalesce(epoch, 0) = 0"
    " AND (extract(epoch FROM created_at) * 1000000)::bigint = coalesce(n.created,"
    " (extract(epoch FROM created_at) * 1000000)::bigint) OFFSET 0) AS w"
    " WHERE n.epoch = 0 OR (n.epoch, n.turn) >= (ours.first_epoch, ours.first_turn)) AS f"
    " WHERE o.ctid = f.place RETURNING 1)"
    " SELECT 1 / (CASE WHEN (SELECT count(*) FROM numbered) = cardinality($4::bigint[]) THEN 1 ELSE 0 END) FROM ours"
)
UNBAR = "DELETE FROM onward.barred WHERE service = $1"
BAR = "INSERT INTO onward.barred (service, topic, why) VALUES ($1, $2, $3)"
REFUSE = (
    "INSERT INTO onward.refused (service, why, topic, type, version, key, value, event_id, source, extra)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING"
)
DELETE = (  # as NUMBER is: it gives whether the term is ours, and deletes nothing where it is not
    "WITH ours AS (SELECT FROM onward.relay WHERE service = $1 AND token = $2 AND revision >= $3 FOR SHARE),"
    " gone AS (DELETE FROM onward.outbox WHERE EXISTS (SELECT FROM ours) AND service = $1 AND id = ANY ($4::bigint[]))"
    " SELECT 1 FROM ours"
)

# Whoever will insert has this lock before it is given an id, and keeps it until what it inserted is visible.
WRITERS = (
    "SELECT coalesce(array_agg(DISTINCT CASE WHEN pid IS NULL THEN 'prepared' ELSE virtualtransaction END), '{}')"
    " FROM pg_locks WHERE locktype = 'relation' AND relation = 'onward.outbox'::regclass AND mode = 'RowExclusiveLock'"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND pid IS DISTINCT FROM pg_backend_pid()"
)
# A prepared transaction has another name than while it wrote: with one of them, nobody is known to have ended.
MOVE = (
    "UPDATE onward.relay AS r SET"
    " waiting_after = CASE WHEN they.write THEN r.waiting_after ELSE least(r.ceiling, (SELECT w.id - 1"
    " FROM onward.outbox AS w WHERE w.service = $1 AND w.epoch IS NULL AND w.due_at IS NULL AND w.id > r.waiting_after"
    " ORDER BY w.due_at, w.id LIMIT 1)) END,"
    " ceiling = CASE WHEN they.write THEN r.ceiling ELSE greatest(r.ceiling, $3::bigint) END,"
    " writers = CASE WHEN they.write THEN r.writers ELSE $2::text[] END,"
    " (first_epoch, first_turn) = (SELECT coalesce(f.epoch, $4::bigint), coalesce(f.turn, $5::bigint)"
    " FROM (SELECT) AS one LEFT JOIN LATERAL (SELECT n.epoch, n.turn FROM onward.outbox AS n WHERE n.service = $1"
    " AND n.epoch > 0 AND (n.epoch, n.turn) >= (greatest(r.first_epoch, 1), r.first_turn)"
    " ORDER BY n.epoch, n.turn LIMIT 1) AS f ON true)"
    " FROM (SELECT writers && $2::text[] OR 'prepared' = ANY ($2::text[]) AS write"
    " FROM onward.relay WHERE service = $1) AS they WHERE r.service = $1"
)
