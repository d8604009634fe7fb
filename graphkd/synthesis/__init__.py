"""Generated pages, scenes and lines with exact labels, for training and tests without a download.

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

from graphkd.synthesis.folders import CROPS, LINES, SCENES, SPLITS, VERSION, Split, ensure, generate
from graphkd.synthesis.line_folders import LineSplit, generate_lines
from graphkd.synthesis.lines import make_line
from graphkd.synthesis.page import CLASSES_5, CLASSES_11, five_classes, make_page
from graphkd.synthesis.scenes import make_scene

__all__ = [
    "CLASSES_11",
    "CLASSES_5",
    "CROPS",
    "LINES",
    "SCENES",
    "SPLITS",
    "VERSION",
    "LineSplit",
    "Split",
    "ensure",
    "five_classes",
    "generate",
    "generate_lines",
    "make_line",
    "make_page",
    "make_scene",
]
