"""Nightly runs: the file that calls one verb, and the verb, which looks at the clock and the state and does what is due."""
