"""3CX: its settings, its CRM template, and the reader of its call records."""
