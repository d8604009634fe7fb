"""Measuring detectors: COCO AP, comparison over seeds, size and speed; no training here."""
