"""Bitrix24: its settings, and the reader of its webhooks and call statistics."""
