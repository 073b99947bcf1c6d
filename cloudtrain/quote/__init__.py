"""Quote: collect every offer, judge each for one job, rank by what it costs to finish."""
