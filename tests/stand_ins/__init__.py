"""What tests share: servers and phones that stand in for others, days of calls, and looks at a running daemon."""
