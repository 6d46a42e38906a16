"""The service kit, from both ends of its pipes."""
