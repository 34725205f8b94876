-- Jobs, their inputs and results as segments of many lines, the leases on them, and what goes back to the queue.
-- Ids are the 16 bytes of a UUID v7, times are microseconds since 1970 (UTC), durations are nanoseconds.

CREATE TABLE node (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    epoch INTEGER NOT NULL
);
INSERT INTO node (only_row, epoch) VALUES (1, 0);

-- An open job takes more inputs, and does not end when it has none left: 1 until someone closes it, 2 while a
-- connection brings them.
-- Two states are hidden from clients: 'staging' (its inputs still arrive) and 'deleted' (its rows are being removed).
CREATE TABLE jobs (
    id BLOB PRIMARY KEY,
    function TEXT NOT NULL,
    name TEXT,
    labels TEXT NOT NULL,
    options TEXT NOT NULL,
    priority INTEGER NOT NULL,
    state TEXT NOT NULL,
    total INTEGER NOT NULL,
    is_open INTEGER NOT NULL DEFAULT 0,
    next_index INTEGER NOT NULL DEFAULT 0,
    next_seq INTEGER NOT NULL DEFAULT 1,
    succeeded INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    cancelled INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    started_at INTEGER,
    finished_at INTEGER,
    cpu_ns INTEGER NOT NULL DEFAULT 0,
    task_times BLOB NOT NULL DEFAULT x'',
    next_log INTEGER NOT NULL DEFAULT 1,
    log_bytes INTEGER NOT NULL DEFAULT 0,
    dropped_log_bytes INTEGER NOT NULL DEFAULT 0,
    input_bytes INTEGER NOT NULL DEFAULT 0,
    freed_through INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX jobs_runnable ON jobs (priority DESC, id) WHERE state IN ('queued', 'running');
CREATE INDEX jobs_streamed ON jobs (id) WHERE is_open = 2;
CREATE INDEX jobs_hidden ON jobs (id) WHERE state IN ('staging', 'deleted');
CREATE INDEX jobs_by_state ON jobs (state, id);
CREATE INDEX jobs_by_function ON jobs (function, id);
CREATE INDEX jobs_by_function_and_state ON jobs (function, state, id);
CREATE INDEX jobs_by_end ON jobs (finished_at) WHERE finished_at IS NOT NULL AND state <> 'deleted';

-- The labels of jobs once more, to find jobs by.
CREATE TABLE job_labels (
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    job BLOB NOT NULL,
    PRIMARY KEY (key, value, job)
) WITHOUT ROWID;

CREATE TABLE inputs (
    job BLOB NOT NULL,
    first INTEGER NOT NULL,
    count INTEGER NOT NULL,
    lines BLOB NOT NULL,
    PRIMARY KEY (job, first)
);

-- A segment without a worker holds tasks that never ran, however many they are: cancelled ones have no payload, failed
-- ones their one error. A superseded result stays in the queue, but its task has been run again since.
CREATE TABLE results (
    job BLOB NOT NULL,
    first_seq INTEGER NOT NULL,
    first_index INTEGER NOT NULL,
    count INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    worker TEXT,
    pid INTEGER,
    failed INTEGER NOT NULL,
    superseded INTEGER NOT NULL DEFAULT 0,
    busy_ns INTEGER NOT NULL DEFAULT 0,
    cpu_ns INTEGER NOT NULL DEFAULT 0,
    outcomes BLOB,
    lines BLOB,
    PRIMARY KEY (job, first_seq)
);
CREATE INDEX results_by_index ON results (job, first_index) WHERE superseded = 0;

CREATE TABLE leases (
    id INTEGER PRIMARY KEY,
    job BLOB NOT NULL,
    first INTEGER NOT NULL,
    count INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    epoch INTEGER NOT NULL
);
CREATE INDEX leases_by_job ON leases (job);

CREATE TABLE retries (
    job BLOB NOT NULL,
    first INTEGER NOT NULL,
    count INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    alone INTEGER NOT NULL,
    not_before INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (job, first)
) WITHOUT ROWID;

CREATE TABLE job_workers (
    job BLOB NOT NULL,
    worker TEXT NOT NULL,
    pid INTEGER NOT NULL,
    node TEXT NOT NULL,
    tasks INTEGER NOT NULL,
    busy_ns INTEGER NOT NULL,
    cpu_ns INTEGER NOT NULL,
    max_rss_bytes INTEGER NOT NULL,
    PRIMARY KEY (job, node, worker, pid)
) WITHOUT ROWID;

-- What tasks printed, the newest of it.
CREATE TABLE logs (
    job BLOB NOT NULL,
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    task INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    worker TEXT NOT NULL,
    pid INTEGER NOT NULL,
    stream TEXT NOT NULL,
    text TEXT NOT NULL,
    dropped_bytes INTEGER NOT NULL,
    PRIMARY KEY (job, seq)
) WITHOUT ROWID;

-- A key outlives its job, but not for long.
CREATE TABLE keys (
    key TEXT PRIMARY KEY,
    job BLOB NOT NULL,
    fingerprint BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    has_job INTEGER NOT NULL DEFAULT 1
) WITHOUT ROWID;
CREATE INDEX keys_by_job ON keys (job);
CREATE INDEX keys_without_job ON keys (created_at) WHERE has_job = 0;
