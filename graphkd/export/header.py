"""What every exported file says about itself: classes, thresholds, card; no tensors."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

KEY = "graphkd"
FORMAT = 1


@dataclass(frozen=True)
class Header:
    """The text inside an exported file.

    Attributes:
        classes: names in the order of class numbers.
        thresholds: class name -> score in 0..1 from which a region is shown; every class.
        score_floor: scores of detections are above this.
        precision: "float32" or "int8".
        card: facts about the training (text values).
    """

    classes: tuple[str, ...]
    thresholds: Mapping[str, float]
    score_floor: float
    precision: str
    card: Mapping[str, str]

    def text(self) -> str:
        """As json, with the number of this format."""
        return json.dumps({"format": FORMAT, **asdict(self)})


def read_header(text: str) -> Header:
    """The header from `Header.text`.

    Raises:
        ValueError: other text, or another format.
    """
    said = json.loads(text)
    if not isinstance(said, dict) or said.pop("format", None) != FORMAT:
        raise ValueError("not written by this version of graphkd")
    try:
        return Header(**{**said, "classes": tuple(said["classes"])})
    except (KeyError, TypeError) as error:
        raise ValueError("not a header of graphkd") from error
