"""How a run ended and what it leaves: outcome, memory that was short, measurements, the result itself."""
