"""Pruning of line bodies: groups of channels, importance, and the search for a plan."""
