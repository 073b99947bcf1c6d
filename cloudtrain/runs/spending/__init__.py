"""What may be spent in a state, what has been, and what is reserved for a run before anything is made for it."""
