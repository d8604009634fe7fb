"""Trained detectors at work on pictures and PDFs: reading, detecting, writing; no training, no
scoring.
"""
