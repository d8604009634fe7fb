"""Twelve kinds of corruption of page images at three severities, and AP on corrupted pages."""
