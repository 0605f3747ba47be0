"""Business time, shifts, periods and slots (pure)."""
