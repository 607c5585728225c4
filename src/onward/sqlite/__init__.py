"""One SQLite file, opened well: transactions in fair turns, who is alive, and wake-ups between processes."""
