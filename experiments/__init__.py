"""Command-line experiments: each composes a learner, its data, its figures and its report."""
