"""Sending summaries to people: one module a way."""
