"""Runs: plan, launch, follow, bring home, tear down. This package acts and never prints."""
