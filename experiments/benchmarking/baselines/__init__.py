"""Plain PyTorch programs of the same updates, for the benchmark alone; torch is an extra."""
