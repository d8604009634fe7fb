"""Writing pages of text lines as a data set in the hub format."""

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from graphkd.data.check.files import progress
from graphkd.data.check.lines import HUB_NAME, write_hub
from graphkd.data.convert.line_formats import LINE_KINDS, LineKind
from graphkd.data.convert.line_rows import LinePage
from graphkd.data.convert.split import split_names
from graphkd.data.convert.write import IMAGE_SUFFIXES, absolute, place_all, remoteness
from graphkd.data.images import ImageProblem, PageHeader, read_header
from graphkd.errors import UserError
from graphkd.formats.xml import BadFile
from graphkd.io import NewFolder

# A word of a folder's name: "ch4_training_images" and "TestImages", but not "contest" or "latest".
_SPLIT = re.compile(r"(?<![A-Za-z])(?i:(train|val|test)(ing|set|id|idation|idating)?)(?![a-z])")
_LIST = re.compile(
    r"(train|val|test)(ing|idation)?([_-]?(list|lists|images?|imgs?))?", re.IGNORECASE
)
_PREFIX = re.compile(r"^(poly_gt_|gt_)", re.IGNORECASE)


@dataclass
class ConvertedLines:
    """What a conversion of text lines wrote; `splits` maps a split to (pages, lines, ignored)."""

    out: Path
    splits: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    repaired: Counter[str] = field(default_factory=Counter)
    left_out: list[str] = field(default_factory=list)  # one line each: file and reason
    dropped: int = 0  # lines among them; the others are pages

    @property
    def kept(self) -> int:
        """Number of lines that were written."""
        return sum(lines for _, lines, _ in self.splits.values())


def convert_lines(
    kind: str,
    source: str | Path,
    out: str | Path,
    *,
    images: str | Path | None = None,
    shares: dict[str, float] | None = None,
    group: str = "page",
    seed: int = 0,
    copy: bool = False,
) -> ConvertedLines:
    """Converts label files of text lines to the hub format.

    Splits follow from the names of the folders and files (train, val, test), from lists such as
    train.txt, or from `shares`; without any, one file lines.jsonl is written. Outlines stay as
    published, but for the frame: coordinates are brought to the upright picture.

    Args:
        kind: a key of `LINE_KINDS`.
        source: label file or folder, searched with its sub-folders.
        out: new folder: OUT/{split}.jsonl or OUT/lines.jsonl, and OUT/images.
        images: where the images lie, if not in `source`.
        shares: parts of train, val (and test), in the place of published splits.
        group: see `graphkd.data.convert.split.group_of`.
        seed: changes the division into splits.
        copy: copy the images; otherwise they are hard-linked where the disk allows it.

    Raises:
        UserError: nothing to convert, no image found, `out` in use.
    """
    result = ConvertedLines(Path(out))
    NewFolder(out).check()
    options = {"images": images, "shares": shares, "group": group, "seed": seed}
    _write(placed_pages(kind, source, result, **options), result, copy=copy)
    return result


def placed_pages(
    kind: str,
    source: str | Path,
    result: ConvertedLines,
    *,
    images: str | Path | None,
    shares: dict[str, float] | None,
    group: str,
    seed: int,
) -> "list[Placed]":
    """The pages of label files with their pictures and splits; see `convert_lines`."""
    files, lists = _label_files(Path(source), LINE_KINDS[kind])
    root = Path(images or source)
    finder = _Images(root.parent if root.is_file() else root, lists)
    pages = _read(LINE_KINDS[kind], files, Path(source), finder, result)
    if not pages:
        hint = "" if finder.by_stem else "; name the folder of the images with --images"
        first = f"; the first: {result.left_out[0]}" if result.left_out else ""
        raise UserError(f"none of {len(files)} label files can be used{first}{hint}")
    if kind == "yolo-lines":  # a picture without labels is one without text
        known = {page.path for page in pages}
        for path in [path for paths in finder.by_stem.values() for path in paths]:
            try:
                if path not in known:
                    size = read_header(path).upright
                    pages.append(Placed(LinePage(path.name), path, finder.split(path), size))
            except ImageProblem as error:
                result.left_out.append(f"{path}: {error}")
    if shares is not None:
        names = {finder.name(page.path): page for page in pages}
        division = split_names(list(names), shares, rule=group, seed=seed)
        for split, members in division.items():
            for name in members:
                names[name].split = split
    return pages


@dataclass
class Placed:
    """A page with its picture and split."""

    page: LinePage
    path: Path
    split: str | None
    size: tuple[int, int]
    name: str = ""


def _label_files(source: Path, kind: LineKind) -> tuple[list[Path], dict[str, str]]:
    """The label files, and the split of each page that a list names (by stem, in small letters)."""
    if source.is_file():
        return [source], {}
    if not source.is_dir():
        raise UserError(f"{source}: no such file or folder")
    files, lists = [], {}
    for path in sorted(source.rglob("*")):
        if path.suffix.lower() not in kind.suffixes or not path.is_file():
            continue
        if path.name == "classes.txt":  # YOLO's class names
            continue
        found = _LIST.fullmatch(path.stem) if kind.lists else None
        if found is None:
            files.append(path)
            continue
        rows = path.read_text(encoding="utf-8-sig", errors="replace").split()
        lists |= {_stem(row.rpartition("/")[2]): found[1].lower() for row in rows}
    if not files:
        suffixes = ", ".join(f"*{suffix}" for suffix in kind.suffixes)
        raise UserError(f"{source}: no label file ({suffixes}) in it or its sub-folders")
    return files, lists


def _stem(name: str) -> str:
    """A name without suffixes and the prefixes of label files, in small letters."""
    while Path(name).suffix.lower() in IMAGE_SUFFIXES | {".txt", ".gt", ".xml", ".json"}:
        name = Path(name).stem
    return _PREFIX.sub("", name).casefold()


def split_in(path: PurePath) -> str | None:
    """The split that the last telling part of a relative path names."""
    for part in reversed(path.parts):
        if "tr400" in part.lower():  # the pages that TD-TR adds to the training ones
            return "train"
        found = _SPLIT.findall(part)
        if found:
            return found[-1][0].lower()
    return None


class _Images:
    """Finds the picture of a label file: same name, then same split, then the nearest folder."""

    def __init__(self, root: Path, lists: dict[str, str]):
        if not root.is_dir():
            raise UserError(f"{root}: no such folder of images")
        self.root, self.lists = absolute(root), lists
        self.by_stem: dict[str, list[Path]] = {}
        self.by_number: dict[int, list[Path]] = {}
        for path in sorted(self.root.rglob("*")):
            if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
                stem = _stem(path.name)
                self.by_stem.setdefault(stem, []).append(path)
                if stem.isascii() and stem.isdigit():
                    self.by_number.setdefault(int(stem[-9:]), []).append(path)

    def split(self, path: Path) -> str | None:
        """The split of a picture, from a list or the nearest folder that tells it."""
        return self.lists.get(_stem(path.name)) or split_in(path.relative_to(self.root).parent)

    def name(self, path: Path) -> str:
        """The picture's name below the folder of the images."""
        return path.relative_to(self.root).as_posix()

    def find(self, name: str, label: Path, split: str | None) -> Path:
        """The one picture that is meant; raises BadFile if there is none or more than one."""
        last = name.replace("\\", "/").rpartition("/")[2]
        stems = [stem for stem in (_stem(last), _stem(label.name)) if stem]
        found = next((self.by_stem[stem] for stem in stems if stem in self.by_stem), [])
        if not found and stems and stems[0].isascii() and stems[0].isdigit():
            # CTW1500 calls the labels of 1001.jpg 0001001.txt.
            found = self.by_number.get(int(stems[0][-9:]), [])
        if not found:
            raise BadFile(f"no image {last} found below {self.root}")
        for better in (
            lambda path: path.name == last,
            lambda path: path.as_posix().endswith("/" + name.replace("\\", "/").lstrip("./")),
            lambda path: self.split(path) == split,
        ):
            found = [path for path in found if better(path)] or found
        ranks = [remoteness(path, absolute(label)) for path in found]
        best = [path for path, rank in zip(found, ranks, strict=True) if rank == min(ranks)]
        if len(best) > 1:
            listed = ", ".join(self.name(path) for path in best[:3])
            raise BadFile(f"{len(best)} images may be {last} ({listed}); which one is not clear")
        return best[0]


def _read(
    kind: LineKind, files: list[Path], source: Path, finder: _Images, result: ConvertedLines
) -> list[Placed]:
    placed: dict[Path, Placed] = {}
    with progress("reading labels", len(files)) as bar:
        for path in files:
            try:
                pages = kind.read(path)
            except BadFile as error:
                result.left_out.append(f"{path}: {error}")
                pages = []
            except UserError as error:  # read_document names the file
                result.left_out.append(str(error))
                pages = []
            # The name of a file tells the split if it holds many pages, as train.json.
            inside = path.relative_to(source) if source.is_dir() else Path(path.name)
            split = split_in(inside.with_suffix("") if kind.many else inside.parent)
            for page in pages:
                try:
                    _place(page, path, split, finder, placed, result)
                except (BadFile, ImageProblem) as error:
                    result.left_out.append(f"{path}: {page.image}: {error}")
                result.repaired += page.repaired
                result.left_out += [f"{path}: {reason}" for reason in page.dropped]
                result.dropped += len(page.dropped)
            bar.update()
    return list(placed.values())


def _place(
    page: LinePage,
    label: Path,
    split: str | None,
    finder: _Images,
    placed: dict[Path, Placed],
    result: ConvertedLines,
) -> None:
    """Finds the picture of a page and brings the lines into its frame."""
    image = finder.find(page.image, label, split)
    if image in placed:
        raise BadFile("the picture has its lines from another label file")
    header = read_header(image)
    split = finder.lists.get(_stem(image.name)) or split or finder.split(image)
    done = _to_upright(page, header)
    if done:
        result.repaired[f"pages {done}"] += 1
    placed[image] = Placed(page, image, split, header.upright)


def _to_upright(page: LinePage, header: PageHeader) -> str | None:
    """Brings the lines of a page to pixels of the upright picture; says what was done.

    Raises:
        BadFile: the labels are for a picture of another shape.
    """
    size = page.size or header.upright
    if size == header.upright:
        return None
    turned = size == header.stored
    real = header.stored if turned else header.upright
    scale = np.array(real) / size
    # Rounded sides may differ by a pixel; shares of the page have any aspect.
    if size != (1, 1) and abs(scale[0] / scale[1] - 1) > 0.01 + 1 / min(*size, *real):
        seen = "{} x {}".format(*header.upright)
        raise BadFile("the labels are for {} x {} pixels, the picture has ".format(*size) + seen)
    for line in page.lines:
        for key in {"polygon", "baseline"} & line.keys():
            points = np.array(line[key]) * scale
            if turned:
                points = upright_points(points, header.stored, header.orientation)
            line[key] = points.tolist()
    if size == (1, 1):
        return None
    return "were turned as their EXIF says" if turned else "were scaled to the picture's size"


def upright_points(points: np.ndarray, size: tuple[int, int], orientation: int) -> np.ndarray:
    """Points (N, 2) of a stored picture of `size` (width, height), after its EXIF turn."""
    (x, y), (width, height) = points.T, size
    across, down = width - x, height - y
    turns = {2: (across, y), 3: (across, down), 4: (x, down), 5: (y, x), 6: (down, x)}
    turns |= {7: (down, across), 8: (y, across)}
    return np.stack(turns.get(orientation, (x, y)), axis=1)


def _write(pages: list[Placed], result: ConvertedLines, *, copy: bool) -> None:
    parts: dict[str, list[Placed]] = {}
    divided = any(page.split for page in pages)
    for page in pages:
        if divided and page.split is None:
            result.left_out.append(f"{page.path}: no split is known for it")
            continue
        parts.setdefault(page.split or Path(HUB_NAME).stem, []).append(page)
    with NewFolder(result.out) as draft:
        for split, members in sorted(parts.items()):
            taken: set[str] = set()
            for page in members:
                name, number = f"images/{split}/{page.path.name}", 1
                while name.casefold() in taken:
                    number += 1
                    name = f"images/{split}/{page.path.stem}_{number}{page.path.suffix}"
                taken.add(name.casefold())
                page.name = name
            place_all([(page.path, page.name) for page in members], draft, copy=copy)
            write_hub(draft / f"{split}.jsonl", map(_record, members))
            lines = [line for page in members for line in page.page.lines]
            ignored = sum(line["ignore"] for line in lines)
            result.splits[split] = len(members), len(lines), ignored


def _record(placed: Placed) -> dict[str, Any]:
    width, height = placed.size
    record: dict[str, Any] = {"path": placed.name, "width": width, "height": height}
    if placed.page.document is not None:
        record["document"] = placed.page.document
    return {**record, "lines": placed.page.lines}
