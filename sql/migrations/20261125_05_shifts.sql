-- the shifts of the last and the next weeks, for Grafana to choose from
-- depends: 20261125_05_roster

-- migrate: apply

-- What the configuration's calendar makes of real days; the daemon writes it anew from time to time.
CREATE TABLE view_shifts (
    tenant text        NOT NULL,
    id     text        NOT NULL,
    name   text        NOT NULL,
    day    date        NOT NULL,
    begins timestamptz NOT NULL,
    ends   timestamptz NOT NULL,
    queues text[]      NOT NULL,
    team   text        NOT NULL,
    PRIMARY KEY (tenant, id, day)
);

-- One row per shift and day: when it is, and whether it is over, goes on or comes.
CREATE VIEW callkpi_views.shifts AS
SELECT tenant, id, name, day, begins, ends, queues, team,
    CASE WHEN ends <= now() THEN 'ended' WHEN begins <= now() THEN 'running' ELSE 'planned' END AS state,
    name || ', ' || to_char(day, 'YYYY-MM-DD') AS label
FROM view_shifts;

SELECT prepare_reader();

-- migrate: rollback

DROP VIEW callkpi_views.shifts;
DROP TABLE view_shifts;
