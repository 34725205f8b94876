-- Failures are found among any number of results.
CREATE INDEX results_failed ON results (job, first_seq) WHERE failed > 0 AND superseded = 0;
