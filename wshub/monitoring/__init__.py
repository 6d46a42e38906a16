"""What a hub shows of itself: the admin interface, metrics, logs, and what systemd is told."""
