"""Classes, text classes and file layout of the known data sets."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

PUBLAYNET_CLASSES = ("text", "title", "list", "table", "figure")
PUBLAYNET_TEXT = ("text", "title", "list")

DOCLAYNET_CLASSES = (
    "Caption",
    "Footnote",
    "Formula",
    "List-item",
    "Page-footer",
    "Page-header",
    "Picture",
    "Section-header",
    "Table",
    "Text",
    "Title",
)
DOCLAYNET_TEXT = (
    "Caption",
    "Footnote",
    "List-item",
    "Page-footer",
    "Page-header",
    "Section-header",
    "Text",
    "Title",
)

PRIMA_CLASSES = (
    "TextRegion",
    "ImageRegion",
    "TableRegion",
    "MathsRegion",
    "SeparatorRegion",
    "OtherRegion",
)
PRIMA_TEXT = ("TextRegion",)

HJ_CLASSES = (
    "Page Frame",
    "Row",
    "Title Region",
    "Text Region",
    "Title",
    "Subtitle",
    "Other",
)
HJ_TEXT = ("Title Region", "Text Region", "Title", "Subtitle")

SEGMONTO_CLASSES = (
    "MainZone",
    "MarginTextZone",
    "NumberingZone",
    "RunningTitleZone",
    "GraphicZone",
    "DropCapitalZone",
    "QuireMarksZone",
    "StampZone",
    "OtherZone",
)
SEGMONTO_TEXT = (
    "MainZone",
    "MarginTextZone",
    "NumberingZone",
    "RunningTitleZone",
    "QuireMarksZone",
)


# For class lists of other data sets: the last of these words in a name decides, as "Section-header"
# is a header and "TableCaption" a caption.
_TEXT_WORDS = frozenset(
    "abstract address author authors body caption catchword code colophon comment date entry "
    "footer footnote footnotes foreword header heading headline index item line lines list "
    "lists main margin marginalia note notes number numbering paragraph paragraphs quire "
    "quote reference references rubric running section sidebar signature subtitle text texts "
    "title titles toc word words".split()
)
_NONTEXT_WORDS = frozenset(
    "advertisement background capital chart charts chem cover damage decoration diagram drawing "
    "equation figure figures form formula formulas frame graphic graphics illustration image "
    "images initial logo map maps math maths music ornament other photo photograph picture "
    "pictures plot seal separator separators stamp table tables".split()
)


@dataclass(frozen=True)
class Layout:
    """Where one split of a published data set lies below the data root, and what it holds.

    `json` and `images` are relative to the data root. Category ids are 1..K in the order of
    `classes`, as in the published files (or as the converter writes them).
    """

    name: str
    json: str
    images: str
    classes: tuple[str, ...]
    text_classes: tuple[str, ...]
    how: str  # how to get it, the end of "... is missing: "


_ALL = ("train", "val", "test")
_TRAIN_VAL = _ALL[:2]
_PUBLISHED = (
    (
        "publaynet",
        _TRAIN_VAL,
        "publaynet/{split}.json",
        "publaynet/{split}",
        (PUBLAYNET_CLASSES, PUBLAYNET_TEXT),
        "unpack PubLayNet there (see datasets/README.md)",
    ),
    (
        "doclaynet",
        _ALL,
        "doclaynet/COCO/{split}.json",
        "doclaynet/PNG",
        (DOCLAYNET_CLASSES, DOCLAYNET_TEXT),
        "unpack DocLayNet_core there (see datasets/README.md)",
    ),
    (
        "prima",
        _TRAIN_VAL,
        "prima/{split}.json",
        "prima/images",
        (PRIMA_CLASSES, PRIMA_TEXT),
        "make it with `graphkd data convert prima FOLDER --out datasets/prima`",
    ),
    (
        "hj",
        _ALL,
        "hj/{split}.json",
        "hj/images",
        (HJ_CLASSES, HJ_TEXT),
        "make it with `graphkd data convert hj FOLDER --out datasets/hj`",
    ),
    (
        "segmonto",
        _ALL,
        "segmonto/{split}.json",
        "segmonto/images",
        (SEGMONTO_CLASSES, SEGMONTO_TEXT),
        "make it with `graphkd data convert alto FOLDER --out datasets/segmonto "
        "--split 70,15,15 --group folder`",
    ),
)
KNOWN: tuple[Layout, ...] = tuple(
    Layout(f"{name}_{split}", json.format(split=split), images.format(split=split), *classes, how)
    for name, splits, json, images, classes, how in _PUBLISHED
    for split in splits
)


@dataclass(frozen=True)
class GeneratedLayout:
    """One split of the generated pages: `source` and `split` as `synthesis.ensure` names them."""

    name: str
    source: str
    split: str
    json_name: str
    classes: tuple[str, ...]
    text_classes: tuple[str, ...]


GENERATED: tuple[GeneratedLayout, ...] = tuple(
    GeneratedLayout(
        name=f"{prefix}{size}_{split}",
        source=f"pages{size}",
        split=split,
        json_name=json_name,
        classes=classes,
        text_classes=text_classes,
    )
    for prefix, json_name, classes, text_classes in (
        ("pages", "annotations_5.json", PUBLAYNET_CLASSES, PUBLAYNET_TEXT),
        ("pages11", "annotations_11.json", DOCLAYNET_CLASSES, DOCLAYNET_TEXT),
    )
    for size in ("", "_tiny", "_mini")
    for split in _ALL
)


def text_names(classes: Sequence[str]) -> tuple[tuple[str, ...], str]:
    """The text classes of a class list, for models whose data set is not on this machine.

    A class list of a known data set has the text classes of that set. In other lists the last
    word of a name that is in one of the two word lists above decides; a name without such a word
    is no text.

    Args:
        classes: class names.

    Returns:
        Those that are text, in their order, and where that comes from, as the end of a sentence.
    """
    for layout in (*KNOWN, *GENERATED):
        if tuple(classes) == layout.classes:
            return layout.text_classes, f"as in {layout.name.rpartition('_')[0]}"
    return tuple(name for name in classes if _is_text(name)), "guessed from the names"


def _is_text(name: str) -> bool:
    parts = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)
    for word in reversed([part.lower() for part in parts]):
        if word in _TEXT_WORDS or word in _NONTEXT_WORDS:
            return word in _TEXT_WORDS
    return False
