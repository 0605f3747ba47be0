"""Shifts, periods, summaries: what managers read."""
