"""What should be gone and is not: at a provider, and on this machine without any record."""
