-- Events that a broker will never take, such as larger ones than their topic does: dead letters of who published them.
CREATE TABLE onward.refused (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    service text NOT NULL,
    refused_at timestamptz NOT NULL DEFAULT now(),
    why text NOT NULL,
    topic text NOT NULL,
    type text NOT NULL,
    version integer NOT NULL,
    key bytea,                              -- UTF-8
    value bytea,
    event_id bytea NOT NULL,                -- 16 bytes of a UUID, or the text of a foreign id
    source text NOT NULL,
    extra bytea                             -- CloudEvents extension attributes as JSON; NULL = none
);
CREATE UNIQUE INDEX refused_event ON onward.refused (service, source, event_id);
