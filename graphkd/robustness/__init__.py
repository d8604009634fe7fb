"""Twelve kinds of damage to page images, at three strengths; no detector, no scoring loop."""

from graphkd.robustness.damages import KINDS, STRENGTHS, Damaged, damage, moved_box

__all__ = ["KINDS", "STRENGTHS", "Damaged", "damage", "moved_box"]
