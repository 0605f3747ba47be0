-- summaries that are sent: what was said, to whom, and whether it arrived
-- depends: 20261125_06_api

-- migrate: apply

-- Since when a report is configured: nothing from before is sent.
CREATE TABLE report_since (
    tenant text        NOT NULL,
    report text        NOT NULL,
    since  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, report)
);

-- What a report said of a period: the first edition when the period is over, another one when a late event changed
-- its figures. Customers' numbers are masked in it.
CREATE TABLE report_editions (
    tenant      text        NOT NULL,
    report      text        NOT NULL,
    period      text        NOT NULL,
    edition     int         NOT NULL,
    end_at      timestamptz NOT NULL,
    fingerprint text        NOT NULL,
    summary     json        NOT NULL,
    made_at     timestamptz NOT NULL DEFAULT now(),
    -- Figures that are not those of the edition, and since when: a correction waits until they stay.
    drifted_to  text        NOT NULL DEFAULT '',
    drifted_at  timestamptz,
    PRIMARY KEY (tenant, report, period, edition)
);

CREATE INDEX report_editions_by_end ON report_editions (end_at);

-- One row per edition and receiver. A receiver is known by a digest: an address may hold a secret.
CREATE TABLE deliveries (
    tenant   text        NOT NULL,
    report   text        NOT NULL,
    period   text        NOT NULL,
    edition  int         NOT NULL,
    receiver text        NOT NULL,
    way      text        NOT NULL,
    state    text        NOT NULL DEFAULT 'waiting',  -- waiting, sending, sent, failed, in_doubt, superseded
    attempts int         NOT NULL DEFAULT 0,
    next_at  timestamptz NOT NULL DEFAULT now(),
    made_at  timestamptz NOT NULL DEFAULT now(),
    sent_at  timestamptz,
    error    text        NOT NULL DEFAULT '',
    PRIMARY KEY (tenant, report, period, edition, receiver)
);

CREATE INDEX deliveries_due ON deliveries (next_at) WHERE state IN ('waiting', 'sending');

CREATE INDEX deliveries_unsent ON deliveries (made_at) WHERE state IN ('failed', 'in_doubt');

-- migrate: rollback

DROP TABLE deliveries;
DROP TABLE report_editions;
DROP TABLE report_since;
