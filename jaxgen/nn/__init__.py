"""Layers and convolutions that models are made of."""
