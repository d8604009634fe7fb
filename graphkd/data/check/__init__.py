"""Checks and repairs COCO data sets."""

from graphkd.data.check.clean import CleanPage, CleanSet, clean
from graphkd.data.check.document import NotCoco, read_document
from graphkd.data.check.problems import KINDS, Problem, count_by_kind

__all__ = [
    "KINDS",
    "CleanPage",
    "CleanSet",
    "NotCoco",
    "Problem",
    "clean",
    "count_by_kind",
    "read_document",
]
