"""The folder of results: names, files page by page, the record, and what may be removed."""

import contextlib
import io
import json
import os
import re
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from graphkd import __version__
from graphkd.document import Page
from graphkd.errors import UserError
from graphkd.formats import PAGE_FORMATS
from graphkd.formats.coco_json import CocoWriter
from graphkd.io import DISK_ERRORS, replacing, write_json, write_text
from graphkd.predict.documents import Failure, RawPage
from graphkd.report.content import Boxes
from graphkd.report.pictures import class_colours, draw_lines, draw_predictions

FORMATS = ("json", "coco", *(name for name in PAGE_FORMATS if name != "json"))
RECORD = "predict.json"
# The files written, one a line: what a later run may remove, and nothing else is ever removed.
_WRITTEN = "written.txt"
_PICTURES = "pictures"
# Folder -> ending of the files in it.
_OURS = {form.folder: form.ending for form in PAGE_FORMATS.values()} | {_PICTURES: ".jpg"}
_COCO = ("coco.json", "coco_results.json")
_FAILED = "failed.json"
_FORMAT = 1
# Bytes that the record and what files and folders take beyond their content fit into.
_RESERVE = 1 << 16
_MAX_BYTES = 120  # file systems end at 255; endings and numbers come on top
_RESERVED = {"con", "prn", "aux", "nul"} | {f"{n}{i}" for n in ("com", "lpt") for i in range(1, 10)}


class Output:
    """Results of one run in one folder.

    Every page is on disk, whole, before the next one is looked at; the COCO files, the list of
    failures and the record are written when it is closed, also after an interruption and on a disk
    that has become full. Whatever cannot be written is a UserError that names the folder.

    Attributes:
        pages: written so far.
        regions: on these pages.
        lines: of text in these regions.
        failures: what could not be read.
    """

    def __init__(
        self,
        folder: Path,
        *,
        formats: Sequence[str],
        classes: Sequence[str],
        draw: bool,
        record: Mapping[str, Any],
    ):
        self._folder = folder
        self._formats = [PAGE_FORMATS[name] for name in formats if name in PAGE_FORMATS]
        self._draw = draw
        self._record = dict(record)
        self._names = Names()
        self._classes = tuple(classes)
        self.pages = self.regions = self.lines = 0
        self.failures: list[Failure] = []
        with self._explained():
            self._space = ReservedSpace(folder, size=_RESERVE)
            self._coco = None
            if "coco" in formats:
                self._coco = CocoWriter(folder, classes, reserve=self._space.grow)
            files = [RECORD, _FAILED, *(_COCO if self._coco else ())]
            write_text(folder / _WRITTEN, "".join(f"{file}\n" for file in files))
            self._write_record(finished=False)

    def add(self, raw: RawPage, page: Page) -> None:
        """Writes one page in every form that was asked for."""
        name = self._names.take(raw.source, raw.number, raw.pages)
        with self._explained():
            places = [(form.folder, form.ending) for form in self._formats]
            places += [(_PICTURES, _OURS[_PICTURES])] * self._draw
            files = [f"{inside}/{name}{ending}" for inside, ending in places]
            # Before they are there: those of a killed run are known, too.
            with (self._folder / _WRITTEN).open("a", encoding="utf-8") as stream:
                stream.writelines(f"{file}\n" for file in files)
            for form, file in zip(self._formats, files, strict=False):
                write_text(self._folder / file, form.text(page))
            if self._draw:
                self._write_picture(raw, page, self._folder / files[-1])
            if self._coco is not None:
                self._coco.add(page, name, several=raw.pages > 1 or raw.number > 1)
        self.pages += 1
        self.regions += len(page.regions)
        self.lines += sum(len(region.lines) for region in page.regions)

    def fail(self, failure: Failure) -> None:
        """Notes a file or page that cannot be read."""
        self.failures.append(failure)
        with self._explained():
            self._space.grow(len(json.dumps(_entry(failure), ensure_ascii=False).encode()) + 16)
            self._write_failures()

    def close(self, *, finished: bool) -> None:
        """Writes what describes the whole run; `finished` False after an interruption."""
        self._space.give_back()
        with self._explained():
            # The counts come first: the COCO files can be too much for a disk that others fill.
            self._write_record(finished=False)
            if self.failures:
                self._write_failures()
            if self._coco is not None:
                self._coco.finish()
                self._coco.close()
            if finished:
                self._write_record(finished=True)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in DISK_ERRORS:
                raise
            raise UserError(
                f"{self._folder}: nothing more can be written there ({error.strerror or error}); "
                f"{self.pages} pages are whole; see to the disk, then start again with --overwrite"
            ) from error

    def _write_picture(self, raw: RawPage, page: Page, path: Path) -> None:
        regions = [region for region in page.regions if region.found_by == "layout"]
        boxes = Boxes(
            np.array([region.box for region in regions]),
            [region.label for region in regions],
            [region.score for region in regions],
        )
        picture = draw_predictions(raw.pixels, boxes, colours=class_colours(self._classes))
        lines = [line.polygon for region in page.regions for line in region.lines]
        draw_lines(picture, lines, colour=class_colours(["text"])["text"])
        path.parent.mkdir(exist_ok=True)
        content = io.BytesIO()
        picture.save(content, "JPEG", quality=88, subsampling=0)  # thin lines keep their colour
        # Pillow itself would tell a full disk as a broken stream.
        with replacing(path) as stream:
            stream.write(content.getbuffer())

    def _write_failures(self) -> None:
        write_json(self._folder / _FAILED, [_entry(failure) for failure in self.failures])

    def _write_record(self, *, finished: bool) -> None:
        counts = {"pages": self.pages, "regions": self.regions, "lines": self.lines}
        counts["failed"] = len(self.failures)
        write_json(
            self._folder / RECORD,
            {
                "format": _FORMAT,
                "graphkd": __version__,
                **self._record,
                **counts,
                "finished": finished,
            },
        )


def _entry(failure: Failure) -> dict[str, Any]:
    return {"source": failure.source, "page": failure.number, "reason": failure.reason}


def check_folder(folder: Path, *, overwrite: bool) -> None:
    """Refuses a folder that cannot be written, or that holds anything but, with `overwrite`, this
    command's earlier results. Nothing is made or changed.

    Raises:
        UserError: it is a file or in a place that cannot be written, holds results and `overwrite`
            is not said, or holds other files.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: it is a file; name a folder for the results")
    parent = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not parent.is_dir():
        raise UserError(f"{folder}: it cannot be made, since {parent} is a file")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise UserError(f"{folder}: you may not write in {parent}; name another folder")
    # Alone, the list is of a run that came no further.
    if not folder.exists() or all(path.name == _WRITTEN for path in folder.iterdir()):
        return
    if not (folder / RECORD).is_file():
        raise UserError(
            f"{folder}: it is not empty and holds no earlier results of this command; "
            "name another folder"
        )
    if not overwrite:
        raise UserError(
            f"{folder}: it holds earlier results; name another folder, or --overwrite them"
        )
    if not (folder / _WRITTEN).is_file():
        raise UserError(
            f"{folder}: it does not say which files are results (it has no {_WRITTEN}); name "
            "another folder"
        )


def clear_folder(folder: Path, *, keep: Iterable[Path] = ()) -> None:
    """Makes the folder; removes an earlier run's results in it and leaves every other file.

    Raises:
        UserError: a file of `keep` is one of these results; nothing is removed then.
    """
    folder.mkdir(parents=True, exist_ok=True)
    results = _results(folder)
    ours = {os.path.realpath(path) for path in results}
    for path in keep:
        if os.path.realpath(path) in ours:
            raise UserError(
                f"{path}: it is a result of the earlier run, which --overwrite removes; name "
                "another folder for the results"
            )
    for path in results:
        path.unlink(missing_ok=True)
    for inside in (folder / name for name in _OURS):
        if inside.is_dir() and not any(inside.iterdir()):
            inside.rmdir()


def _results(folder: Path) -> list[Path]:
    """The files that an earlier run of this command wrote in `folder` and that are still there."""
    list_file = folder / _WRITTEN
    if not list_file.is_file():
        return []
    lines = list_file.read_text(encoding="utf-8", errors="replace").replace("\0", "").splitlines()
    found = [folder / line for line in lines if _may_be_ours(Path(line))]
    return [path for path in found if path.is_file() or path.is_symlink()] + [list_file]


def _may_be_ours(path: Path) -> bool:
    """Whether a listed path has a place and kind that this command writes."""
    if len(path.parts) == 1:
        return path.name in (RECORD, _FAILED, *_COCO)
    return len(path.parts) == 2 and _OURS.get(path.parts[0]) == path.suffix


class Names:
    """Hands out names for results; those that differ in case alone count as the same."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, source: str, number: int, pages: int) -> str:
        """The name, without ending, for a page.

        Args:
            source: the page's file.
            number: page in the file, from 1.
            pages: pages of the file; where there are several the name ends in `_p0001`.
        """
        stem = safe_stem(source)
        wanted = f"{stem}_p{number:04d}" if pages > 1 or number > 1 else stem
        name, count = wanted, 1
        while name.casefold() in self._taken:
            count += 1
            name = f"{wanted}~{count}"
        self._taken.add(name.casefold())
        return name


def safe_stem(source: str) -> str:
    """The file name without its ending: letters, digits, `-`, `_` and `.` of any language, the rest
    as `_`; never empty, hidden, too long or a device name of Windows.
    """
    name = PurePath(source).name
    name = PurePath(name).stem if PurePath(name).suffix else name
    name = re.sub(r"[^\w.-]", "_", unicodedata.normalize("NFC", name))
    name = name.encode()[:_MAX_BYTES].decode("utf-8", "ignore").strip(".-") or "page"
    return f"{name}_" if name.split(".")[0].casefold() in _RESERVED else name


class ReservedSpace:
    """Reserves disk space so that the final files can be written even when the disk fills up.

    A disk that fills up is then noticed while a run can still be brought to an end in order.
    """

    def __init__(self, folder: Path, *, size: int):
        """Takes `size` bytes.

        Raises:
            OSError: the disk has no room for them; so for `grow`.
        """
        # It has no name and goes with the process.
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)
        self.grow(size)

    def grow(self, size: int) -> None:
        """Takes `size` bytes more."""
        rest = bytes(size)
        while rest:
            rest = rest[self._file.write(rest) :]

    def give_back(self) -> None:
        """Frees all of it."""
        self._file.close()
