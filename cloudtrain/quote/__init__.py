"""Quote: collect every offer, assess each for one job, rank by what it costs to finish."""
