-- Which numbers came on a partition and are done, below the account's position or beyond it: a relay that is not sure
-- sends again.
CREATE TABLE onward_producer (
    subscription INTEGER NOT NULL REFERENCES onward_subscription (id),
    partition INTEGER NOT NULL,
    incarnation TEXT NOT NULL,
    owed_from INTEGER NOT NULL,             -- every number from here on is owed
    done BLOB NOT NULL,                     -- those that came, an interval set
    PRIMARY KEY (subscription, partition, incarnation)
) WITHOUT ROWID;
