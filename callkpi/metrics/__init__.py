"""What Prometheus scrapes, a file a subject."""
