"""Generated document pages with exact boxes, for training and tests without any download.

Pages are typeset as documents are made (a PDF, rendered to pixels); some then get the marks of a
scanner. They carry the 11 classes of DocLayNet; `five_classes` translates them to the 5 of
PubLayNet:

* text: Text, Caption, Footnote, Formula
* title: Title, Section-header
* list: all List-items of one list together, one box
* table: Table
* figure: Picture
* not annotated: Page-header, Page-footer
"""

from graphkd.synthesis.folders import LINES, SCENES, SPLITS, VERSION, Split, ensure, generate
from graphkd.synthesis.page import CLASSES_5, CLASSES_11, five_classes, make_page
from graphkd.synthesis.scenes import make_scene

__all__ = [
    "CLASSES_11",
    "CLASSES_5",
    "LINES",
    "SCENES",
    "SPLITS",
    "VERSION",
    "Split",
    "ensure",
    "five_classes",
    "generate",
    "make_page",
    "make_scene",
]
