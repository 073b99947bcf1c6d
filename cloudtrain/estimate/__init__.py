"""Estimates over a model, hardware and options: memory, operations, speed, and what interruptions cost."""
