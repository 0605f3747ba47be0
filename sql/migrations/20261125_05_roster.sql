-- who was planned to work when
-- depends: 20261125_05_days

-- migrate: apply

CREATE TABLE rosters (
    tenant text        NOT NULL,
    agent  text        NOT NULL,
    begins timestamptz NOT NULL,
    ends   timestamptz NOT NULL,
    shift  text        NOT NULL,  -- as the plan calls it, '' where it does not say
    PRIMARY KEY (tenant, agent, begins)
);

CREATE INDEX rosters_by_time ON rosters (tenant, begins);

-- migrate: rollback

DROP TABLE rosters;
