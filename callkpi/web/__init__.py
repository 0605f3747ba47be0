"""The HTTP surface: webhooks in, metrics and API out. Each module adds its own routes."""
