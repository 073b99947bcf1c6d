"""One file per provider; see README.md."""
