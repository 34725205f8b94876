-- A long history, written past the server. The table `wanted` says how much: jobs that have ended half a second apart up
-- to now, the first of them large; then queued ones, which hold one lock, so that a slot is left for others.

WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers, wanted WHERE n < wanted.ended)
INSERT INTO jobs (id, function, labels, options, priority, state, total, next_index, next_seq, succeeded, failed,
                  created_at, started_at, finished_at, cpu_ns, input_bytes)
SELECT unhex(printf('%012x70008%015x', (now - (ended - n) * 500000) / 1000, n)),
       CASE WHEN n = 7 THEN 'primes' WHEN n % 10 = 0 THEN 'sha256' ELSE 'echo' END,
       printf('{"batch":"%d","team":"x"}', n / 1000),
       '{"processes":null,"priority":0,"timeout":null,"max_attempts":3,"on_error":"continue"}',
       0, iif(n % 100 = 0, 'failed', 'succeeded'), 1, 1, 2, iif(n % 100 = 0, 0, 1), iif(n % 100 = 0, 1, 0),
       at - 2000, at - 1000, at, 100000, 2
FROM (SELECT n, ended, now, now - (ended - n) * 500000 AS at FROM numbers, wanted);

WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers, wanted WHERE n < wanted.queued)
INSERT INTO jobs (id, function, labels, options, priority, state, total, created_at, input_bytes)
SELECT unhex(printf('%012x70009%015x', now / 1000, n)), 'sleep', '{}',
       '{"processes":null,"priority":0,"timeout":null,"max_attempts":3,"on_error":"continue","lock":{"name":"one","permits":1}}',
       0, 'queued', 1, now, 5
FROM numbers, wanted;

INSERT INTO inputs (job, first, count, lines)
SELECT id, 0, 1, CAST(iif(state = 'queued', '3600', '1') || char(10) AS BLOB) FROM jobs;

INSERT INTO results (job, first_seq, first_index, count, attempt, worker, pid, failed, busy_ns, cpu_ns, outcomes, lines)
SELECT id, 1, 0, 1, 1, 'worker-1', 42, failed, 5, 5, iif(failed, x'0b', x'0a'),
       CAST(iif(failed, '{"verdict":"exception","message":"no"}', '1') || char(10) AS BLOB)
FROM jobs WHERE finished_at IS NOT NULL;

INSERT INTO job_workers (job, worker, pid, node, tasks, busy_ns, cpu_ns, max_rss_bytes)
SELECT id, 'worker-1', 42, 'node', 1, 5, 5, 4096 FROM jobs WHERE finished_at IS NOT NULL;

INSERT INTO job_labels (key, value, job)
SELECT label.key, label.value, jobs.id FROM jobs, json_each(labels) AS label ORDER BY 1, 2, 3;

INSERT INTO keys (key, job, fingerprint, created_at)
SELECT 'key-' || hex(id), id, zeroblob(32), created_at - 172800000000 FROM jobs WHERE finished_at IS NOT NULL;

INSERT INTO callbacks (job, receiver, state, attempts)
SELECT id, 'https://hooks.example.com', 'delivered', 1 FROM jobs WHERE finished_at IS NOT NULL;

-- Large jobs: the oldest ones get many segments of 16,384 tasks each.
CREATE TEMP TABLE large AS SELECT id FROM jobs ORDER BY id LIMIT (SELECT large FROM wanted);
CREATE TEMP TABLE block AS
SELECT CAST(replace(hex(zeroblob(16384)), '00', '"' || printf('%032d', 0) || '"' || char(10)) AS BLOB) AS lines,
       unhex(replace(hex(zeroblob(16384)), '00', '0A')) AS outcomes;
DELETE FROM inputs WHERE job IN (SELECT id FROM large);
DELETE FROM results WHERE job IN (SELECT id FROM large);
WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers, wanted WHERE n + 1 < wanted.segments)
INSERT INTO inputs (job, first, count, lines)
SELECT id, n * 16384, 16384, lines FROM large, numbers, block ORDER BY 1, 2;
WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers, wanted WHERE n + 1 < wanted.segments)
INSERT INTO results (job, first_seq, first_index, count, attempt, worker, pid, failed, busy_ns, cpu_ns, outcomes, lines)
SELECT id, n * 16384 + 1, n * 16384, 16384, 1, 'worker-1', 42, 0, 81920, 81920, outcomes, lines
FROM large, numbers, block ORDER BY 1, 2;
UPDATE jobs SET total = wanted.segments * 16384, next_index = wanted.segments * 16384,
                next_seq = wanted.segments * 16384 + 1, succeeded = wanted.segments * 16384, failed = 0
FROM wanted WHERE id IN (SELECT id FROM large);
DROP TABLE block;
DROP TABLE large;
