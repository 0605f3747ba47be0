"""Asterisk: its settings, and the readers of AMI, queue_log, CEL and CDR."""
