"""Figures and pages for a reader."""
