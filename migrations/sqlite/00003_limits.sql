-- +goose Up

-- What was used of the plans: a row for each counter with its hour, its day and its burst bucket. Times are microseconds.
CREATE TABLE limits (
    counter    text PRIMARY KEY,
    hour_began bigint NOT NULL, -- the first request of the window
    hour_used  bigint NOT NULL,
    day_began  bigint NOT NULL,
    day_used   bigint NOT NULL,
    burst_full bigint NOT NULL, -- when the bucket is full again
    expires_at bigint NOT NULL  -- nothing of the row counts any more
);
CREATE INDEX limits_expiry ON limits (expires_at);
