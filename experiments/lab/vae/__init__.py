"""The lab's tasks for a variational autoencoder."""
