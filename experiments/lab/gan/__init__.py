"""The lab's tasks for generative adversarial networks."""
