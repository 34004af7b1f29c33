"""Measures of trained models: likelihoods, quality of samples, features. Knows no training."""
