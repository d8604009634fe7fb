r"""Reading, checking and cleaning label files of crops: pictures of single lines and their texts.

A label file has a row `name \t text` a line. The name is relative to the folder of the file; all
after the first tab is the text, unchanged. A json list of names, as PaddleOCR writes for pictures
of one text, stands for a row each.
"""

import hashlib
import json
import os.path
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from graphkd.data.check.clean import CleanPage, CleanSet
from graphkd.data.check.files import find_files, look_at, progress
from graphkd.data.check.problems import Problem
from graphkd.data.check.report import Report, write_page
from graphkd.data.convert.split import group_of
from graphkd.data.images import MAX_PIXELS
from graphkd.errors import UserError
from graphkd.io import NewFolder, write_text
from graphkd.text.charset import NORMS, Charset, normalise
from graphkd.text.ctc import least_frames
from graphkd.text.prepare import BUCKETS, HEIGHT, frames_of, line_width

LABELS_NAME = "labels.tsv"
UNKNOWN = ("drop_line", "drop_char", "replace")
_SPLITS = ("train", "val", "test")
# A line of several characters that is higher than this times its width was probably not turned.
_UPRIGHT = 1.5
_QUOTED = 60  # characters of a label in messages

Found = Callable[[Problem], None]


@dataclass(frozen=True)
class LabelRules:
    """How labels are cleaned for training.

    Attributes:
        unknown: what becomes of characters that the charset lacks, one of `UNKNOWN`.
        replacement: the character of "replace".
        norm: Unicode form of the labels, one of `graphkd.text.charset.NORMS`.
        half_width: full-width ASCII becomes ASCII.
        height: of the network, in pixels.
        max_width: lines that are longer at this height are left out; with 2,048, the widest
            bucket, they are squeezed into it.

    Raises:
        UserError: a word that is not known.
    """

    unknown: str = "drop_line"
    replacement: str = "?"
    norm: str = "nfc"
    half_width: bool = False
    height: int = HEIGHT
    max_width: int = BUCKETS[-1]

    def __post_init__(self) -> None:
        for key, value, known in (("UNKNOWN", self.unknown, UNKNOWN), ("NORM", self.norm, NORMS)):
            if value not in known:
                raise UserError(f"INPUT.CROPS.{key} is {value!r}; known: {', '.join(known)}")


def read_rows(label_file: str | Path, found: Found) -> list[tuple[str, str]]:
    """Names and texts of a label file as they are there; a row without a tab goes to `found`.

    Raises:
        UserError: the file is missing or cannot be opened.
    """
    path = Path(label_file)
    try:
        content = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; check the path or make the data first") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        found(Problem("not_labels", f"{path.name}: byte {error.start} is not UTF-8"))
        return []
    rows = []
    # Not splitlines: a text may hold other characters that it takes for the end of a row.
    for number, row in enumerate(content.split("\n"), start=1):
        row = row.removesuffix("\r")
        name, tab, text = row.partition("\t")
        if not row.strip():
            continue
        if not tab:
            said = f"row {number} of {path.name} has no tab: {row[:_QUOTED]!r}"
            found(Problem("row_malformed", said))
            continue
        rows += [(each, text) for each in _names(name)]
    if not rows:
        found(Problem("not_labels", f"{path.name} has no row of name, tab and text"))
    return rows


def _names(name: str) -> list[str]:
    if name.startswith("["):
        try:
            names = json.loads(name)
        except (ValueError, RecursionError):
            return [name]
        if isinstance(names, list) and all(isinstance(each, str) for each in names):
            return names
    return [name]


def write_rows(path: Path, rows: Iterable[tuple[str, str]]) -> None:
    """Writes names and texts as a label file; line ends in a text become spaces."""
    # splitlines would cut at more than the ends of rows.
    flat = ((name, text.replace("\r", " ").replace("\n", " ")) for name, text in rows)
    text = "".join(f"{name}\t{text}\n" for name, text in flat)
    write_text(path, text.encode("utf-8", "backslashreplace").decode("utf-8"))


def documents_of(names: Iterable[str], rule: str = "") -> list[str | None]:
    """The document of each crop: what the rule finds in its name, or a folder of the name.

    Args:
        names: relative to the label file.
        rule: see `graphkd.data.convert.split.group_of`; without one the document is the first
            folder that differs between the names, and None where there is none.
    """
    names = list(names)
    if rule:
        return [group_of(name, rule) for name in names]
    folders = [PurePosixPath(name).parts[:-1] for name in names]
    shared = len(os.path.commonprefix(folders))
    return [parts[shared] if len(parts) > shared else None for parts in folders]


def load_crops(
    label_file: str | Path,
    found: Found,
    *,
    group: str = "",
    decode: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> list[CleanPage]:
    """The crops of a label file whose pictures can be read; texts are not changed.

    Args:
        label_file: the file.
        found: gets every problem.
        group: the rule of `documents_of`.
        decode: decode every picture instead of trusting its end mark.
        max_pixels: larger pictures are left out without being decoded.

    Returns:
        One each: `entry` has file_name, id, width, height, text and perhaps document.
    """
    rows = read_rows(label_file, found)
    documents = documents_of([name for name, _ in rows], group)
    images: dict[str, dict[str, Any]] = {}
    for (name, text), document in zip(rows, documents, strict=True):
        key, number = name, 1
        while key in images:
            number += 1
            key = f"{name}#{number}"
        if number == 2:
            found(Problem("same_file_twice", "the picture is listed more than once", file=name))
        images[key] = {"file_name": name, "id": key, "text": text}
        if document is not None:
            images[key]["document"] = document
    files = find_files(images, Path(label_file).absolute().parent, found)
    crops = []
    for key, sheet in look_at(files, images, decode=decode, max_pixels=max_pixels):
        for problem in sheet.problems:
            found(problem)
        if sheet.unusable is None:
            entry = images[key]
            entry["width"], entry["height"] = sheet.header.upright
            crops.append(CleanPage(entry, sheet.path, [{"text": entry["text"]}], sheet))
    return crops


def tidy_label(
    text: str, size: tuple[int, int], charset: Charset | None, rules: LabelRules
) -> tuple[str | None, list[tuple[str, str]]]:
    """A label as it is trained on.

    Args:
        text: the label.
        size: (width, height) of the picture.
        charset: None accepts every character.
        rules: how it is cleaned.

    Returns:
        The label, or None if the line is left out, and pairs of problem kind and text.
    """
    label = normalise(text, norm=rules.norm, half_width=rules.half_width)
    quoted, problems = f"{text[:_QUOTED]!r}", []
    if rules.norm == "nfc" and label != normalise(text, norm="none", half_width=rules.half_width):
        problems.append(("text_normal_form", f"{quoted} is not in NFC"))
    unknown = "" if charset is None else charset.unknown(label)
    if unknown:
        names = ", ".join(dict.fromkeys(f"{char!r} (U+{ord(char):04X})" for char in unknown))
        problems.append(("text_unknown", f"{quoted} has {names}"))
        if rules.unknown == "drop_line":
            return None, problems
        replacement = rules.replacement if rules.unknown == "replace" else ""
        label = charset.keep(label, replacement=replacement)
    if not label:
        return None, [*problems, ("text_empty", "the label is empty")]
    needed = least_frames(label if charset is None else charset.encode(label))
    width = line_width(size[::-1], height=rules.height)
    if needed > frames_of(width):
        given = f"{frames_of(width)} frames of {size[0]} x {size[1]} pixels"
        return None, [*problems, ("text_too_long", f"{quoted} needs {needed} of {given}")]
    return label, problems


def clean_crops(
    label_file: str | Path,
    *,
    charset: Charset | None = None,
    rules: LabelRules | None = None,
    group: str = "",
    decode: bool = False,
) -> CleanSet:
    """The part of a label file that can be trained on, and every problem.

    Labels without text, with characters that the charset lacks (see `LabelRules.unknown`) and
    longer than CTC can write on their line are left out. See `load_crops` for the other arguments.
    `extra["unknown"]` counts the characters that the charset lacks, `extra["lines"]` the lines
    whose picture can be read; `extra["dropped"]` tells whether unknown characters cost the line.
    """
    rules, unknown, result = rules or LabelRules(), Counter(), CleanSet()
    found = result.problems.append
    crops = load_crops(label_file, found, group=group, decode=decode)
    dropped = rules.unknown == "drop_line"
    result.extra = {"kind": "crops", "unknown": unknown, "lines": len(crops), "dropped": dropped}
    for crop in crops:
        size, name = (crop.entry["width"], crop.entry["height"]), crop.entry["file_name"]
        if charset is not None:
            unknown.update(charset.unknown(crop.entry["text"]))
        label, problems = tidy_label(crop.entry["text"], size, charset, rules)
        for kind, text in problems:
            found(Problem(kind, text, file=name))
        if label is None:
            continue
        crop.entry["text"] = label
        crop.annotations = [{"text": label}]
        result.pages.append(crop)
    return result


def check_crops(
    label_file: str | Path, *, charset: Charset | None = None, group: str = "", decode: bool = True
) -> Report:
    """Checks a label file: its rows, every picture, every label, and pictures in two splits.

    The other splits are the files train.tsv, val.tsv and test.tsv in the same folder.

    Raises:
        UserError: there is no such file. Damage is reported, not raised.
    """
    rows = read_rows(label_file, lambda problem: None)
    cleaned = clean_crops(label_file, charset=charset, group=group, decode=decode)
    for crop in cleaned.pages:
        size, name = (crop.entry["width"], crop.entry["height"]), crop.entry["file_name"]
        if size[0] * HEIGHT > BUCKETS[-1] * size[1]:
            text = f"{size[0]} x {size[1]} pixels"
            cleaned.problems.append(Problem("line_squeezed", text, file=name))
        if size[1] > _UPRIGHT * size[0] and len(crop.entry["text"]) > 2:
            text = f"{size[0]} x {size[1]} pixels for {crop.entry['text'][:_QUOTED]!r}"
            cleaned.problems.append(Problem("line_upright", text, file=name))
    cleaned.problems += _in_other_splits(Path(label_file), cleaned.pages)
    where = {"json_file": str(label_file), "image_root": str(Path(label_file).parent)}
    return Report(**where, pages=len(rows), boxes=len(rows), cleaned=cleaned)


def _in_other_splits(label_file: Path, crops: list[CleanPage]) -> list[Problem]:
    """Pictures whose bytes are in another split, too."""
    if label_file.stem not in _SPLITS:
        return []
    own: dict[str, str] = {}
    for crop in crops:
        own.setdefault(_digest(crop.path), crop.entry["file_name"])
    problems = []
    for split in _SPLITS:
        other = label_file.with_name(f"{split}{label_file.suffix}")
        if split == label_file.stem or not other.is_file():
            continue
        rows = read_rows(other, lambda problem: None)
        images = {i: {"file_name": name} for i, (name, _) in enumerate(rows)}
        for i, path in find_files(images, other.parent, lambda problem: None):
            twin = own.get(_digest(path))
            if twin is not None:
                text = f"the same picture as {rows[i][0]} of {other.name}"
                problems.append(Problem("other_split", text, file=twin))
    return problems


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_fixed_crops(cleaned: CleanSet, out: str | Path) -> list[Problem]:
    """Writes the usable crops: OUT/labels.tsv and the pictures in OUT/images.

    Pictures are copied or rewritten as `graphkd.data.check.report.write_fixed` does.

    Returns:
        What a new check of the copy still finds, without notes.

    Raises:
        UserError: no crop can be used, or `out` is in use.
    """
    if cleaned.error is not None:
        raise UserError(f"cannot be repaired: {cleaned.error.line()}")
    if not cleaned.pages:
        raise UserError("no line of this data set can be used: there is nothing to write")
    names: set[str] = set()
    rows = []
    with NewFolder(out) as draft:
        with progress("writing the copy", len(cleaned.pages)) as bar:
            for crop in cleaned.pages:
                name = write_page(crop, draft / "images", names)
                rows.append((f"images/{name}", crop.entry["text"]))
                bar.update()
        write_rows(draft / LABELS_NAME, rows)
    return clean_crops(Path(out) / LABELS_NAME).counted
