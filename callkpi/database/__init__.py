"""PostgreSQL started, migrated, reached, and its queries by their names."""
