"""What a machine gives a job: disk, memory to load through, an environment that runs there."""
