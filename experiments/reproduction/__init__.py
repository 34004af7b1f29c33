"""Whether a run repeats: its checks, its processes, its verdict."""
