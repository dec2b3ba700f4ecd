-- +goose Up

-- What was used of the plans: a row for each counter with its hour, its day and its burst bucket. Times are microseconds.
-- Unlogged, since a crash may forget counts; with room in its pages, so that an update of a row touches no index.
CREATE UNLOGGED TABLE limits (
    counter    text PRIMARY KEY,
    hour_began bigint NOT NULL, -- the first request of the window
    hour_used  bigint NOT NULL,
    day_began  bigint NOT NULL,
    day_used   bigint NOT NULL,
    burst_full bigint NOT NULL, -- when the bucket is full again
    expires_at bigint NOT NULL  -- nothing of the row counts any more
) WITH (fillfactor = 50);
CREATE INDEX limits_expiry ON limits (expires_at);

GRANT SELECT, INSERT, UPDATE, DELETE ON limits TO doorward_system;
