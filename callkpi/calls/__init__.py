"""What a call is: events, fold, facts, formulas, numbers (pure)."""
