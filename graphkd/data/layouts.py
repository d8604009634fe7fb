"""Classes, text classes and file layout of the known data sets."""

import re
from collections.abc import Sequence
from dataclasses import dataclass


def _without(classes: tuple[str, ...], *names: str) -> tuple[str, ...]:
    return tuple(name for name in classes if name not in names)


PUBLAYNET_CLASSES = ("text", "title", "list", "table", "figure")
PUBLAYNET_TEXT = _without(PUBLAYNET_CLASSES, "table", "figure")
DOCLAYNET_CLASSES = tuple(
    "Caption Footnote Formula List-item Page-footer Page-header Picture Section-header Table Text "
    "Title".split()
)
DOCLAYNET_TEXT = _without(DOCLAYNET_CLASSES, "Formula", "Picture", "Table")
PRIMA_CLASSES = tuple(
    "TextRegion ImageRegion TableRegion MathsRegion SeparatorRegion OtherRegion".split()
)
PRIMA_TEXT = ("TextRegion",)
HJ_CLASSES = ("Page Frame", "Row", "Title Region", "Text Region", "Title", "Subtitle", "Other")
HJ_TEXT = ("Title Region", "Text Region", "Title", "Subtitle")
SEGMONTO_CLASSES = tuple(
    "MainZone MarginTextZone NumberingZone RunningTitleZone GraphicZone DropCapitalZone "
    "QuireMarksZone StampZone OtherZone".split()
)
SEGMONTO_TEXT = _without(
    SEGMONTO_CLASSES, "GraphicZone", "DropCapitalZone", "StampZone", "OtherZone"
)
# Not pages, but what published detectors of everyday photographs are compared on.
VOC_CLASSES = tuple(
    "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike "
    "person pottedplant sheep sofa train tvmonitor".split()
)

# For other class lists: the last known word of a name decides, since "Section-header" is a header
# and "TableCaption" a caption.
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
    """Where one split of a known data set lies below the data root, and what it holds.

    `json` and `images` are relative to the data root. Category ids are 1..K in the order of
    `classes`, as in the published files (or as the converter writes them).
    """

    name: str
    json: str
    images: str
    classes: tuple[str, ...]
    text_classes: tuple[str, ...]
    how: str  # how to get it, the end of "... is missing: "
    source: tuple[str, str] | None = None  # generated pages: as `synthesis.ensure` names them
    # "lines": `json` is a hub file of text lines; "crops": a list of line pictures and texts
    kind: str = "coco"
    charset: str = ""  # crops: the file of the characters to read, relative to the data root
    group: str = ""  # crops: the regular expression that finds the document in a name


def _splits(
    name: str,
    places: tuple[str, str],
    classes: tuple[tuple[str, ...], tuple[str, ...]],
    how: str,
    *,
    splits: tuple[str, ...] = ("train", "val", "test"),
    source: str | None = None,
) -> list[Layout]:
    """Layouts of the splits; `places` are json and images, `classes` all and those of text."""
    return [
        Layout(
            f"{name}_{split}",
            *(place.format(split=split) for place in places),
            *classes,
            how,
            (source, split) if source else None,
        )
        for split in splits
    ]


def _generated(name: str, json: str, *classes: tuple[str, ...]) -> list[Layout]:
    layouts = []
    for size in ("", "_tiny", "_mini"):
        folder = f"pages{size}/{{split}}"
        places = f"{folder}/{json}", f"{folder}/images"
        layouts += _splits(
            f"{name}{size}", places, classes, "made on first use", source=f"pages{size}"
        )
    return layouts


KNOWN: tuple[Layout, ...] = (
    *_generated("pages", "annotations_5.json", PUBLAYNET_CLASSES, PUBLAYNET_TEXT),
    *_generated("pages11", "annotations_11.json", DOCLAYNET_CLASSES, DOCLAYNET_TEXT),
    *_splits(
        "publaynet",
        ("publaynet/{split}.json", "publaynet/{split}"),
        (PUBLAYNET_CLASSES, PUBLAYNET_TEXT),
        "unpack PubLayNet there (see datasets/README.md)",
        splits=("train", "val"),
    ),
    *_splits(
        "doclaynet",
        ("doclaynet/COCO/{split}.json", "doclaynet/PNG"),
        (DOCLAYNET_CLASSES, DOCLAYNET_TEXT),
        "unpack DocLayNet_core there (see datasets/README.md)",
    ),
    *_splits(
        "prima",
        ("prima/{split}.json", "prima/images"),
        (PRIMA_CLASSES, PRIMA_TEXT),
        "make it with `graphkd data convert prima FOLDER --out datasets/prima`",
        splits=("train", "val"),
    ),
    *_splits(
        "hj",
        ("hj/{split}.json", "hj/images"),
        (HJ_CLASSES, HJ_TEXT),
        "make it with `graphkd data convert hj FOLDER --out datasets/hj`",
    ),
    *_splits(
        "segmonto",
        ("segmonto/{split}.json", "segmonto/images"),
        (SEGMONTO_CLASSES, SEGMONTO_TEXT),
        "make it with `graphkd data convert alto FOLDER --out datasets/segmonto "
        "--split 70,15,15 --group folder`",
    ),
    *(
        layout
        for year, splits in (("07", ("trainval", "test")), ("12", ("trainval",)))
        for layout in _splits(
            f"voc{year}",
            (f"voc{year}/{{split}}.json", f"voc{year}/images"),
            (VOC_CLASSES, ()),
            f"make it with `graphkd data convert voc VOCdevkit/VOC20{year} --out "
            f"datasets/voc{year}`",
            splits=splits,
        )
    ),
)

_TEXT = ("text",)


def _lines(name: str, splits: str, kind: str = "") -> tuple[Layout, ...]:
    """Layouts of a set of text lines that `graphkd data convert` makes."""
    how = f"make it with `graphkd data convert {kind or name} FOLDER --out datasets/{name}` "
    how += "(see datasets/README.md)"
    return tuple(
        Layout(f"{name}_{split}", f"{name}/{split}.jsonl", name, _TEXT, _TEXT, how, kind="lines")
        for split in splits.split()
    )


def _made_lines(name: str, source: str) -> tuple[Layout, ...]:
    """Layouts of a set of text lines that `synthesis.ensure` makes in the folders of `source`."""
    return tuple(
        Layout(
            f"{name}_{split}",
            f"{source}/{split}/lines.jsonl",
            f"{source}/{split}/images",
            _TEXT,
            _TEXT,
            "made on first use",
            (source, split),
            kind="lines",
        )
        for split in ("train", "val", "test")
    )


def _crops(name: str, how: str, *, group: str = "") -> tuple[Layout, ...]:
    """Layouts of a set of line pictures that lies in `name`."""
    return tuple(
        Layout(
            f"{name}_{split}",
            f"{name}/{split}.tsv",
            name,
            (),
            (),
            f"{how} (see datasets/README.md)",
            kind="crops",
            group=group,
        )
        for split in ("train", "val", "test")
    )


KNOWN_CROPS: tuple[Layout, ...] = (
    *(
        Layout(
            f"lines_{split}",
            f"lines/{split}/lines.tsv",
            f"lines/{split}",
            (),
            (),
            "made on first use",
            ("lines", split),
            kind="crops",
        )
        for split in ("train", "val", "test")
    ),
    *_crops("lines_print", "put its folders train, val and test and their TSV files there"),
    # The receipt's number comes before the line's.
    *_crops("sroie_lines", "put its folders and TSV files there", group=r"([^/_]+)_[^/]*$"),
    *_crops(
        "icdar2015_words",
        "make it with `graphkd data convert icdar2015-words FOLDER --out datasets/icdar2015_words`",
    ),
)
KNOWN_LINES: tuple[Layout, ...] = (
    *_made_lines("pages_text", "pages"),
    *_made_lines("scenes", "scenes"),
    *_lines("page_lines", "train val test", kind="coco-lines"),
    *_lines("sroie", "train val test"),
    *_lines("icdar2015_scene", "train val", kind="coco-lines"),
    *_lines("icdar2013", "train test"),
    *_lines("icdar2015", "train test"),
    *_lines("mlt2017", "train val"),
    *_lines("td500", "train test"),
    *_lines("tdtr", "train test"),
    *_lines("totaltext", "train test"),
    *_lines("casia10k", "train test"),
    *_lines("ctw1500", "train test"),
)


def text_names(classes: Sequence[str]) -> tuple[tuple[str, ...], str]:
    """Finds the text classes in a class list, for models whose data set is not on this machine.

    A class list that equals that of a known data set has its text classes. In other lists, the last
    word of a name that is in one of the two word lists above decides; a name without such a word is
    not text.

    Args:
        classes: class names.

    Returns:
        The text classes in their order, and the source of this decision as the end of a sentence.
    """
    for layout in KNOWN:
        if tuple(classes) == layout.classes and layout.source is None:
            return layout.text_classes, f"as in {layout.name.rpartition('_')[0]}"
    return tuple(name for name in classes if _is_text(name)), "guessed from the names"


def _is_text(name: str) -> bool:
    parts = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)
    for word in reversed([part.lower() for part in parts]):
        if word in _TEXT_WORDS or word in _NONTEXT_WORDS:
            return word in _TEXT_WORDS
    return False
