"""The lab's tasks for a restricted Boltzmann machine."""
