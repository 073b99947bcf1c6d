"""The short answer of a quote: the few rows that matter, and what it takes to start each."""
