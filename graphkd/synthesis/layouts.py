"""The kinds of pages and how often each is drawn; how a kind looks is decided in its own room."""

from collections.abc import Callable

import numpy as np

from graphkd.synthesis.business import letter, tables
from graphkd.synthesis.frames import SERIF, start
from graphkd.synthesis.papers import book, paper, paper_first
from graphkd.synthesis.reports import magazine, manual, report, slide
from graphkd.synthesis.sheet import Sheet
from graphkd.synthesis.styles import weighted


def blank(rng: np.random.Generator) -> Sheet:
    """An empty page, without regions."""
    return start(rng, SERIF, (9, 11)).sheet


KINDS: dict[Callable[[np.random.Generator], Sheet], float] = {
    paper: 0.22,
    paper_first: 0.13,
    book: 0.10,
    report: 0.17,
    manual: 0.12,
    tables: 0.09,
    letter: 0.05,
    magazine: 0.08,
    slide: 0.03,
    blank: 0.01,
}


def lay_out(rng: np.random.Generator) -> Sheet:
    """Draw a kind of page and lay one out."""
    return weighted(rng, KINDS)(rng)
