"""What `local.py` finds out about this machine, without third-party packages: processor, memory, accelerators."""
