"""From a delivery to the journal, durable, or the spool."""
