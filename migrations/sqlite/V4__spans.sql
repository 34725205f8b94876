-- When a worker was at work on a segment of results, in microseconds since 1970; unknown for those of before.
ALTER TABLE results ADD COLUMN started_at INTEGER;
ALTER TABLE results ADD COLUMN ended_at INTEGER;
