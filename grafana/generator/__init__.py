"""Writes what Grafana, Prometheus and their alerts read, from one Python source."""
