"""FreeSWITCH: its settings, and the readers of its event socket and call records."""
