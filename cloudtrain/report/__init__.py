"""CostReport: what a run was quoted, what it took, and what was measured on the way."""
