"""What somebody types: a file a command, its arguments beside its deed, and the store opened for it."""
