"""What finished runs have taught: their measurements, and how much weight these have beside the prior."""
