"""Service processes: how they are started, confined, watched, talked to and ended."""
