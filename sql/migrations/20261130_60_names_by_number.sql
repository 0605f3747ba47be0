-- what is read again only when something is new: agents whose ids several sources use
-- depends: 20261126_03_reading

-- migrate: apply

-- Whether there is a name that a process has not seen yet: asked with each reading of a board.
CREATE INDEX names_by_number ON names (number);

-- migrate: rollback

DROP INDEX names_by_number;
