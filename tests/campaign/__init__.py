"""Campaigns against the fake clouds: random faults and kills, then teardown, and a look into the ledger."""
