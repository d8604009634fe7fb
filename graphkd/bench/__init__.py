"""Measurements of speed and memory; no numbers of any machine here."""
