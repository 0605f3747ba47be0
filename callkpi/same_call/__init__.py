"""Which calls of several sources are one: rules (pure), store, check."""
