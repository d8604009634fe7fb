"""What a detector found on a page, as plain frozen dataclasses; no torch, no pixels, no files."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from graphkd.errors import UserError

if TYPE_CHECKING:
    from layoutparser import Layout


@dataclass(frozen=True)
class Region:
    """One found region.

    Attributes:
        label: class name.
        score: confidence in 0..1.
        box: x1, y1, x2, y2 in pixels of the page, x to the right, y downwards.
    """

    label: str
    score: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Page:
    """The regions of one page.

    Attributes:
        source: the file as it was named, or "image 1" for a picture that came from memory.
        number: page in its source, counted from 1.
        width: of the page as the detector saw it (upright; a PDF page as rendered), in pixels.
        height: likewise.
        regions: by falling score; empty where nothing was found.
    """

    source: str
    number: int
    width: int
    height: int
    regions: tuple[Region, ...]

    def to_dict(self) -> dict[str, Any]:
        """The page as it is written to json: boxes in pixels (to 0.01) and as parts of the page."""
        return {
            "source": self.source,
            "page": self.number,
            "width": self.width,
            "height": self.height,
            "regions": [self._region(region) for region in self.regions],
        }

    def to_layoutparser(self) -> Layout:
        """The regions as a `layoutparser.Layout` of TextBlocks with type and score.

        Raises:
            UserError: the package layoutparser is not installed.
        """
        try:
            layoutparser = importlib.import_module("layoutparser")
        except ModuleNotFoundError as error:
            raise UserError(
                "to_layoutparser needs the package layoutparser: pip install layoutparser"
            ) from error
        return layoutparser.Layout(
            [
                layoutparser.TextBlock(
                    layoutparser.Rectangle(*region.box), type=region.label, score=region.score
                )
                for region in self.regions
            ]
        )

    def _region(self, region: Region) -> dict[str, Any]:
        sides = (self.width, self.height) * 2
        return {
            "class": region.label,
            "score": round(region.score, 4),
            "box": [round(value, 2) for value in region.box],
            "box_fraction": [
                round(value / side, 6) for value, side in zip(region.box, sides, strict=True)
            ],
        }
