"""A portal by REST: its statistics, names and deals read, the call funnel written."""
