"""A page with everything that the formats have to hold."""

from graphkd.document import Line, Page, Region, Word, box_polygon, numbered

BOX = box_polygon


def _line(text, top, *, left=100.0, **about):
    return Line(BOX((left, top, left + 10 * len(text), top + 20)), text=text, **about)


TITLE = Line(
    ((100.04, 50.5), (300.25, 54), (299, 84), (99, 80.5)),
    0.91234,
    "Über Größe",
    0.87654,
    ((100, 75.25), (200, 77), (300, 78.8)),
    (
        Word(
            ((100.04, 50.5), (180, 52), (179, 82), (99, 80.5)),
            "Über",
            0.9,
            (("Ü", 100.04, 120.5, 0.8), ("b", 120.5, 140, 0.95), ("er", 140, 180, None)),
        ),
        Word(BOX((190.5, 52, 300, 84)), "Größe", 0.85),
    ),
    alternatives=(("Uber Größe", 0.1), ("Über Grösse", 0.02)),
)
BODY = (
    _line("the first exam-", 120, confidence=0.95),
    _line("ple of <text> & *stars*", 145, confidence=0.9),
    _line("ﬁnal words 1. of a PDF", 170, origin="pdf"),
    _line("", 195),
)
PAGE = numbered(
    Page(
        "scans/a b.png",
        3,
        600,
        800,
        (
            Region("title", 0.98765, BOX((90.2, 45.7, 310.6, 90.1)), (TITLE,)),
            Region("text", 0.9, BOX((90, 110, 400, 220)), BODY),
            Region("figure", 0.8, ((50, 300), (200.4, 310), (180, 400))),
            Region("table", 0.7, BOX((50, 420, 550, 500)), (_line("a b", 430), _line("1 2", 460))),
            Region("list-item", 0.7, BOX((50, 510, 550, 560)), (_line("• Шрифт 漢字 𝄞", 520),)),
            Region("odd; {x}: y", 0.3, BOX((0, 600, 600, 640)), found_by="lines"),
        ),
        order_by="xycut",
        dpi=200.0,
        rotation=90.0,
        confidence=0.8912,
    )
)
EMPTY = Page("x.png", 1, 10, 10, ())
