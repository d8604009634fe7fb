"""Generated document pages with exact boxes, for training and tests without any download; real
data sets live elsewhere.

Pages are typeset as documents are made (a PDF, rasterised), and some are then spoiled as scanners
do. They carry the
11 classes of DocLayNet; `five_classes` translates them to the 5 classes of PubLayNet:

* text: Text, Caption, Footnote, Formula
* title: Title, Section-header
* list: all List-items of one list together, one box
* table: Table
* figure: Picture
* not annotated: Page-header, Page-footer
"""

from graphkd.synthesis.folders import SPLITS, VERSION, Split, ensure, generate
from graphkd.synthesis.page import make_page
from graphkd.synthesis.regions import CLASSES_5, CLASSES_11, Page, Region, five_classes

__all__ = [
    "CLASSES_11",
    "CLASSES_5",
    "SPLITS",
    "VERSION",
    "Page",
    "Region",
    "Split",
    "ensure",
    "five_classes",
    "generate",
    "make_page",
]
