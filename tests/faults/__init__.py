"""Faults against callkpi: what is sent to its doors, and what fails beside it."""
