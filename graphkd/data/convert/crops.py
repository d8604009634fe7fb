"""Sets of crops (pictures of single lines and their texts) from the formats of tools."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from graphkd.data.check.crops import read_rows, write_rows
from graphkd.data.check.files import Folder
from graphkd.data.check.problems import Problem
from graphkd.data.convert.line_rows import read_text
from graphkd.data.convert.lines import split_in
from graphkd.data.convert.split import split_names
from graphkd.data.convert.write import IMAGE_SUFFIXES, absolute, place_all, remoteness
from graphkd.errors import UserError
from graphkd.formats.xml import BadFile
from graphkd.io import NewFolder, write_text

ALL = "lines"  # the name of a set that is not divided


@dataclass
class CropSets:
    """What was written: OUT/{split}.tsv with their pictures.

    Attributes:
        out: the folder.
        splits: split -> number of lines.
        counts: lines that were left out, by reason.
        left_out: one line for each file that cannot be used: name and reason.
    """

    out: Path
    splits: dict[str, int] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    left_out: list[str] = field(default_factory=list)


@dataclass
class _Crop:
    """A picture of a line in another format; `data` is the content of one that is no file."""

    name: str
    text: str
    split: str | None = None
    path: Path | None = None
    data: bytes = b""


def convert_crops(
    kind: str,
    source: str | Path,
    out: str | Path,
    *,
    images: str | Path | None = None,
    shares: dict[str, float] | None = None,
    group: str = "page",
    seed: int = 0,
    copy: bool = False,
    gt_txt: bool = False,
) -> CropSets:
    """Converts pictures of lines and their texts to OUT/{split}.tsv and OUT/{split}/.

    Texts are not changed. Splits follow from names of files and folders (train, val, test), or from
    `shares`.

    Args:
        kind: a key of `CROP_KINDS`.
        source: label file or folder.
        out: new folder.
        images: where the pictures lie, if names in label files are not relative to the file.
        shares: parts of train, val (and test).
        group: lines that stay together, see `graphkd.data.convert.split.group_of`.
        seed: changes the division into splits.
        copy: copy the pictures; otherwise they are hard-linked where the disk allows it.
        gt_txt: also write a NAME.gt.txt beside each picture.

    Raises:
        UserError: there is nothing to convert, or `out` is in use.
    """
    result, source = CropSets(Path(out)), Path(source)
    NewFolder(out).check()
    if not source.exists():
        raise UserError(f"{source}: no such file or folder")
    found = list(CROP_KINDS[kind](source, None if images is None else Path(images), result))
    if not found:
        first = f"; the first: {result.left_out[0]}" if result.left_out else ""
        raise UserError(f"{source}: no picture with a text is found{first}")
    if shares is not None:
        by_name = {f"{row.split or ''}/{row.name}": row for row in found}
        for split, names in split_names(list(by_name), shares, rule=group, seed=seed).items():
            for name in names:
                by_name[name].split = split
    rows: dict[str, list[tuple[str, str]]] = {}
    with NewFolder(out) as draft:
        files = []
        for row in found:
            split = row.split or ALL
            name = f"{split}/{row.name.removeprefix(f'{split}/')}"
            rows.setdefault(split, []).append((name, row.text))
            if row.path is not None:
                files.append((row.path, name))
                continue
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            (draft / name).write_bytes(row.data)
        place_all(files, draft, copy=copy)
        write_sets(draft, rows, result, gt_txt=gt_txt)
    return result


def write_sets(
    draft: Path, rows: dict[str, list[tuple[str, str]]], result: CropSets, *, gt_txt: bool
) -> None:
    """Writes the label files of sets whose pictures lie in `draft`.

    Args:
        draft: the folder.
        rows: split -> names and texts.
        result: gets the number of lines of each split.
        gt_txt: also write a NAME.gt.txt beside each picture.

    Raises:
        UserError: there is no line.
    """
    if not any(rows.values()):
        counted = ", ".join(f"{count} {what}" for what, count in result.counts.items())
        raise UserError(f"no line with a text is found ({counted or 'no page can be used'})")
    for split, own in sorted(rows.items()):
        write_rows(draft / f"{split}.tsv", own)
        result.splits[split] = len(own)
        for name, text in own if gt_txt else ():
            write_text((draft / name).with_suffix(".gt.txt"), f"{text}\n")


def _labels(source: Path, images: Path | None, result: CropSets) -> Iterator[_Crop]:
    """Label files of rows `name, tab, text`, as PaddleOCR has them for recognition, too."""
    files = [source] if source.is_file() else sorted(source.glob("*.t[sx][vt]"))
    for path in files:
        problems: list[Problem] = []
        folder, split = Folder(images or path.parent), split_in(Path(path.stem))
        for name, text in read_rows(path, problems.append):
            picture, problem = folder.find(name)
            if picture is None:
                problems.append(problem)
                continue
            yield _Crop(name, text, split, picture)
        result.left_out += [f"{path}: {problem.place_and_message}" for problem in problems]


def _pairs(source: Path, images: Path | None, result: CropSets) -> Iterator[_Crop]:
    """Pairs of a picture and NAME.gt.txt, as Kraken, Calamari and Tesseract are trained with."""
    for path in sorted(source.rglob("*.gt.txt")):
        stem = path.name.removesuffix(".gt.txt")
        inside = path.relative_to(source)
        folder = path.parent if images is None else images / inside.parent
        known = (folder / f"{stem}{mark}{end}" for mark in ("", ".nrm", ".bin") for end in _ENDS)
        picture = next(filter(Path.is_file, known), None)
        try:
            text = read_text(path, Counter()).rstrip("\r\n")
            if picture is None:
                raise BadFile("no picture of this name beside it")
        except BadFile as error:
            result.left_out.append(f"{path}: {error}")
            continue
        name = picture.relative_to(images or source).as_posix()
        yield _Crop(name, text, split_in(inside.parent), picture)


_ENDS = sorted(IMAGE_SUFFIXES, key=lambda suffix: suffix != ".png")


def _icdar2015(source: Path, images: Path | None, result: CropSets) -> Iterator[_Crop]:
    r"""Rows `word_1.png, "text"` with \" for a quote, in a file of gt in its name a split."""
    pictures: dict[str, list[Path]] = {}
    for path in sorted((images or source).rglob("word_*")):
        pictures.setdefault(path.name, []).append(absolute(path))
    for path in sorted(source.rglob("*.txt")):
        if "gt" not in path.stem.lower():
            continue
        split = split_in(Path(*path.relative_to(source.parent).with_suffix("").parts))
        for number, line in enumerate(read_text(path, Counter()).splitlines(), start=1):
            match = re.fullmatch(r'\s*(word_\S+),\s*"(.*)"\s*', line)
            near = pictures.get(match[1], []) if match else []
            near = [each for each in near if split_in(each.parent) == split] or near
            near = sorted(near, key=lambda each: remoteness(each, absolute(path)))
            if not near:
                result.left_out.append(f"{path}, row {number}: no word, or no picture of it")
                continue
            yield _Crop(match[1], re.sub(r"\\(.)", r"\1", match[2]), split, near[0])


def _lmdb(source: Path, images: Path | None, result: CropSets) -> Iterator[_Crop]:
    """An lmdb with the keys num-samples, image-000000001, label-000000001, ... ."""
    try:
        import lmdb
    except ImportError:
        raise UserError("reading lmdb needs the package lmdb: pip install '.[lmdb]'") from None
    folders = sorted(path.parent for path in source.rglob("data.mdb"))
    for folder in folders:
        with (
            lmdb.open(str(folder), readonly=True, lock=False, readahead=False) as stored,
            stored.begin() as reading,
        ):
            inside, split = folder.relative_to(source), split_in(folder.relative_to(source.parent))
            for number in range(1, int(reading.get(b"num-samples", b"0")) + 1):
                data = reading.get(b"image-%09d" % number)
                label = reading.get(b"label-%09d" % number)
                if data is None or label is None:
                    result.left_out.append(f"{folder}: number {number} is missing")
                    continue
                end = "png" if data.startswith(b"\x89PNG") else "jpg"
                name = (inside / f"{number:09d}.{end}").as_posix()
                yield _Crop(name, label.decode("utf-8", "replace"), split, data=bytes(data))


CROP_KINDS: dict[str, Callable[[Path, Path | None, CropSets], Iterator[_Crop]]] = {
    "tsv-crops": _labels,
    "gt-txt": _pairs,
    "icdar2015-words": _icdar2015,
    "lmdb-crops": _lmdb,
}
