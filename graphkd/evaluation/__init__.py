"""Evaluation: COCO AP, matching of boxes, statistics over seeds, and timing."""
