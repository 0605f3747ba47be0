"""From the journal to the tables, in one transaction: batch, folding, rollups, days, what views need."""
