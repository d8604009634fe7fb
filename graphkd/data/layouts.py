"""What is publicly known of each data set: classes, text classes, file layout; reads no file."""

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


@dataclass(frozen=True)
class Layout:
    """Where one split of a known data set lies below the data root, and what it holds.

    `json` and `images` are relative to the data root. Category ids are 1..K in the order of
    `classes`, as in every published file (or as the converter writes them).
    """

    name: str
    json: str
    images: str
    classes: tuple[str, ...]
    text_classes: tuple[str, ...]
    how: str  # how to get it, the end of "... is missing: "


def _splits(
    prefix: str,
    splits: tuple[str, ...],
    json: str,
    images: str,
    classes: tuple[str, ...],
    text_classes: tuple[str, ...],
    how: str,
) -> list[Layout]:
    return [
        Layout(
            name=f"{prefix}_{split}",
            json=json.format(split=split),
            images=images.format(split=split),
            classes=classes,
            text_classes=text_classes,
            how=how,
        )
        for split in splits
    ]


_TRAIN_VAL = ("train", "val")
_ALL = ("train", "val", "test")

KNOWN: tuple[Layout, ...] = tuple(
    _splits(
        "publaynet",
        _TRAIN_VAL,
        "publaynet/{split}.json",
        "publaynet/{split}",
        PUBLAYNET_CLASSES,
        PUBLAYNET_TEXT,
        "unpack PubLayNet there (see datasets/README.md)",
    )
    + _splits(
        "doclaynet",
        _ALL,
        "doclaynet/COCO/{split}.json",
        "doclaynet/PNG",
        DOCLAYNET_CLASSES,
        DOCLAYNET_TEXT,
        "unpack DocLayNet_core there (see datasets/README.md)",
    )
    + _splits(
        "prima",
        _TRAIN_VAL,
        "prima/{split}.json",
        "prima/images",
        PRIMA_CLASSES,
        PRIMA_TEXT,
        "make it with `graphkd data convert prima FOLDER --out datasets/prima`",
    )
    + _splits(
        "hj",
        _ALL,
        "hj/{split}.json",
        "hj/images",
        HJ_CLASSES,
        HJ_TEXT,
        "make it with `graphkd data convert hj FOLDER --out datasets/hj`",
    )
    + _splits(
        "segmonto",
        _ALL,
        "segmonto/{split}.json",
        "segmonto/images",
        SEGMONTO_CLASSES,
        SEGMONTO_TEXT,
        "make it with `graphkd data convert alto FOLDER --out datasets/segmonto "
        "--split 70,15,15 --group folder`",
    )
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
        name=f"{prefix}{tiny}_{split}",
        source=f"pages{tiny}",
        split=split,
        json_name=json_name,
        classes=classes,
        text_classes=text_classes,
    )
    for prefix, json_name, classes, text_classes in (
        ("pages", "annotations_5.json", PUBLAYNET_CLASSES, PUBLAYNET_TEXT),
        ("pages11", "annotations_11.json", DOCLAYNET_CLASSES, DOCLAYNET_TEXT),
    )
    for tiny in ("", "_tiny")
    for split in _ALL
)
