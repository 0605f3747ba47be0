"""What runs: the parent, its children, and the list of jobs."""
