"""Benchmarks, run by hand: ``python -m tests.bench``. Ratios of one run on one machine; nothing here is a test."""
