"""Fake clouds: strict servers on loopback with a ledger, a clock that can be moved, and faults on demand.

For tests and simulations only; nothing of the product imports them.
"""
