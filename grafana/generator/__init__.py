"""Dashboards as code: ``python -m grafana.generator`` writes the JSON that Grafana's file provider reads."""
