"""The summary of a shift or a period, from the figures to page and file."""
