"""Twelve kinds of corruption of page images at three severities, and AP on corrupted pages."""

from graphkd.robustness.corruptions import KINDS, SEVERITIES, Corrupted, corrupt, moved_box

__all__ = ["KINDS", "SEVERITIES", "Corrupted", "corrupt", "moved_box"]
