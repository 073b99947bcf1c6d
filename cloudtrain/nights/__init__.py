"""Nightly runs: the file that a CI system runs, and the verb it calls, which does what is due by clock and state."""
