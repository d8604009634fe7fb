"""The sections on single pages that the reports of a run and of a comparison share: confusion
matrices and the worst pages; no HTML.
"""

from graphkd.report.colours import class_colours
from graphkd.report.content import Details
from graphkd.report.matrix import matrix_table
from graphkd.report.panels import page_panels

_LONGEST = 900
_NARROW = 2  # so many pictures leave room for a second page beside them


def detail_parts(details: Details | None) -> dict | None:
    """What the template needs of `details`; None where there are none."""
    if details is None:
        return None
    shown = [page.truth for page in details.pages]
    shown += [boxes for page in details.pages for boxes in page.predictions.values()]
    used = {name for boxes in shown for name in boxes.classes}
    colours = class_colours(details.classes)
    return {
        "score": f"{details.score:g}",
        "matrices": [
            matrix_table(name, counts, details.classes) for name, counts in details.matrices.items()
        ],
        "pages": [
            page_panels(i, page, colours, longest=_LONGEST) for i, page in enumerate(details.pages)
        ],
        "ranking": details.ranking,
        "colours": {name: colour for name, colour in colours.items() if name in used},
        "narrow": all(1 + len(page.predictions) <= _NARROW for page in details.pages),
    }


def objects_of(details: Details | None) -> dict[str, int]:
    """Class name -> number of objects on all pages; empty where nobody counted."""
    if details is None or not details.matrices:
        return {}
    counts = next(iter(details.matrices.values()))[:-1].sum(1).tolist()
    return dict(zip(details.classes, counts, strict=True))
