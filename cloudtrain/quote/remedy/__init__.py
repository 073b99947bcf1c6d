"""The cheapest change that would make a rejected row work, and which models are of one kind."""
