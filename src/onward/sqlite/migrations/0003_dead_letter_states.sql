-- Dead letters that are over are pruned by age, those that are not are counted; both without reading the rows.
CREATE INDEX onward_dead_letter_ended ON onward_dead_letter (subscription, died_at)
  WHERE state IN ('recovered', 'discarded');
CREATE INDEX onward_dead_letter_open ON onward_dead_letter (subscription, partition, handler, state)
  WHERE state IN ('dead', 'retrying');
