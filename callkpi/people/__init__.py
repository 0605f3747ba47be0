"""Who the agents are, what they did when, and when they should have."""
