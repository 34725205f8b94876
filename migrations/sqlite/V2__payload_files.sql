-- Lines too many for the database are in files that only grow. A segment's row then names the file, and where in it its
-- lines are. What no row names is nothing; a file that has no row here is removed.
CREATE TABLE files (
    id INTEGER PRIMARY KEY,
    job BLOB NOT NULL,
    size INTEGER NOT NULL
);
CREATE INDEX files_by_job ON files (job);
ALTER TABLE inputs ADD COLUMN file INTEGER;
ALTER TABLE inputs ADD COLUMN file_at INTEGER;
ALTER TABLE inputs ADD COLUMN file_size INTEGER;
ALTER TABLE results ADD COLUMN file INTEGER;
ALTER TABLE results ADD COLUMN file_at INTEGER;
ALTER TABLE results ADD COLUMN file_size INTEGER;
CREATE INDEX results_by_file ON results (file) WHERE file IS NOT NULL;
