"""Models: shapes, exact parameter counts, the registry, and the config.json reader."""
