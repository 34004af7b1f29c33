"""Measures, figures and answers that the lab asks for, a folder per family of models."""
