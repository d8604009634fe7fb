"""Showing results: demo page, curves, pictures, document graph; nothing is measured here."""
