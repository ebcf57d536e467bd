"""The limits: for every stage, what the bare engine needs for the same scan or join, and nothing else."""
