"""How long a job takes and what it is billed for, as samples of its uncertain parts: P10, P50, P90, P(done)."""
