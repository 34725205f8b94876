-- How many jobs there are in each state that a job ends in, kept as they end and are deleted: nobody counts a long history.

CREATE TABLE ended_jobs (
    state TEXT PRIMARY KEY,
    jobs INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO ended_jobs (state, jobs) VALUES ('succeeded', 0), ('failed', 0), ('cancelled', 0);
UPDATE ended_jobs SET jobs = (SELECT count(*) FROM jobs WHERE jobs.state = ended_jobs.state);

CREATE TRIGGER count_jobs_ended_at_once AFTER INSERT ON jobs WHEN NEW.state IN ('succeeded', 'failed', 'cancelled')
BEGIN
    UPDATE ended_jobs SET jobs = jobs + 1 WHERE state = NEW.state;
END;

CREATE TRIGGER count_ended_jobs AFTER UPDATE OF state ON jobs WHEN OLD.state <> NEW.state
BEGIN
    UPDATE ended_jobs SET jobs = jobs + (state = NEW.state) - (state = OLD.state) WHERE state IN (OLD.state, NEW.state);
END;
