-- When somebody said that a log that did not go on is no finding of the audit any more; seconds since the epoch.
ALTER TABLE onward_shift ADD COLUMN accepted_at REAL;
