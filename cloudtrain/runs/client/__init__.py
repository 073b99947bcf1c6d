"""What one client does for one run: plan it, ask, start it, follow it, download its result."""
