"""Live connections that the daemon keeps to PBXes: one module a protocol."""
