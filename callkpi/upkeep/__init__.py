"""Keeping the store true, small and private: doctor, rebuilding, retention, erasure."""
