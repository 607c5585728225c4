-- Which numbers came on a partition and are done, below the account's position or beyond it: a relay that is not sure
-- sends again.
CREATE TABLE onward.producer (
    subscription bigint NOT NULL REFERENCES onward.subscription,
    partition integer NOT NULL,
    incarnation text NOT NULL,
    owed_from bigint NOT NULL,              -- every number from here on is owed
    done bytea NOT NULL,                    -- those that came, an interval set
    PRIMARY KEY (subscription, partition, incarnation)
) WITH (fillfactor = 50);
