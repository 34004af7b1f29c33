"""The common part of all experiments, from the command line to the exit code."""
