"""Who gets in: connections, their first request, and what may become a WebSocket."""
