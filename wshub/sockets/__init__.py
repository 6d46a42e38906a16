"""Clients' connections: frames in and out, what waits for a client, and whether it is still there."""
