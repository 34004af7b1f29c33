"""A run on disk: its folder, its manifest, its log of metrics, and the trained model in it."""
