"""Members: who takes part, sealed; how callers are found; cards; files in and out; erasure."""
