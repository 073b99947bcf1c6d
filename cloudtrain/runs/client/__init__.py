"""What one client does for one run: plan it, have it agreed to, start it, follow it, bring its result home."""
