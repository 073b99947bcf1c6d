"""The published catalogue: refreshed price lists that one job signs and uploads, and others pull without any key."""
