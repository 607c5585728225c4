-- When somebody said that a log that did not go on is no finding of the audit any more.
ALTER TABLE onward.shift ADD COLUMN accepted_at timestamptz;
