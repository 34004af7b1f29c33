"""What every experiment shares, from the command line to the exit code."""
