-- The outbox: ends of jobs that are to be told at their `callback_url`, and what became of that. A row comes with the first
-- end of its job; `ends` counts them, as failed tasks can be run again. `receiver` is the URL up to its path; `next_at` is
-- when to try, if it is to be tried.
CREATE TABLE callbacks (
    job BLOB PRIMARY KEY,
    receiver TEXT NOT NULL,
    ends INTEGER NOT NULL DEFAULT 1,
    state TEXT NOT NULL DEFAULT 'pending',
    attempts INTEGER NOT NULL DEFAULT 0,
    last_error TEXT,
    next_at INTEGER
) WITHOUT ROWID;
CREATE INDEX callbacks_due ON callbacks (receiver, next_at) WHERE next_at IS NOT NULL;
