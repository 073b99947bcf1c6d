"""Runs: plan, launch, follow, download, tear down. This package acts and never prints."""
