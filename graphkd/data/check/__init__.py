"""Checks and repairs data sets."""
