-- when a live connection was lost
-- depends: 20261125_08_retention

-- migrate: apply

-- Times in which nothing of a connected source was heard: from the last that it said to the moment at which it was read
-- again. One that goes on has no row yet: table connections tells it.
CREATE TABLE connection_outages (
    source text        NOT NULL,
    begins timestamptz NOT NULL,
    ends   timestamptz NOT NULL,
    reason text        NOT NULL,  -- why it ended, a word of the list of connections.reason
    PRIMARY KEY (source, ends)
);

-- migrate: rollback

DROP TABLE connection_outages;
