"""What every exported file says about itself: classes, thresholds, card; no tensors."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from graphkd.facts import card_of, class_list, is_score, threshold_table

KEY = "graphkd"
FORMAT = 1


@dataclass(frozen=True)
class Header:
    """The text inside an exported file.

    Attributes:
        classes: names in the order of class numbers.
        thresholds: class name -> score in 0..1 from which a region is shown, else 0.5.
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
        ValueError: other text, another format, or damaged facts; the reason in one line.
    """
    try:
        said = json.loads(text)
    except ValueError:
        said = None
    if not isinstance(said, dict) or not said.get("classes"):
        raise ValueError("it names no classes; write it with `graphkd export`")
    if said.get("format") != FORMAT:
        raise ValueError(
            f"format {said.get('format')}, this version reads {FORMAT}; update graphkd"
        )
    try:
        classes = class_list(said["classes"])
        thresholds = threshold_table(said.get("thresholds"), classes)
        floor, card = said.get("score_floor"), card_of(said.get("card"))
    except ValueError as error:
        raise ValueError(f"{error}; export it again") from error
    if not is_score(floor):
        raise ValueError(f"its lowest score is {floor!r}, none in 0..1; export it again")
    return Header(classes, thresholds, float(floor), str(said.get("precision")), card)
