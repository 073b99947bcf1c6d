"""Forges, where a repository lives and a nightly run is told of: a module each, and one through which they send."""
