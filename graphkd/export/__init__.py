"""Trained detectors as files that run without this project; training and drawing live elsewhere."""
