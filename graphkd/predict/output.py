"""The folder of results: taken once, filled page by page, closed with a record; no detector."""

import contextlib
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from graphkd import __version__
from graphkd.errors import UserError
from graphkd.io import DISK_ERRORS, replacing, write_json, write_text
from graphkd.predict.coco import CocoWriter
from graphkd.predict.names import Names
from graphkd.predict.page_xml import page_xml
from graphkd.predict.results import Page
from graphkd.predict.room import Room
from graphkd.predict.sources import Failure, RawPage

FORMATS = ("json", "coco", "page")
RECORD = "predict.json"
# The files written, one a line: what a later run may remove, and nothing else is ever removed.
_WRITTEN = "written.txt"
_OURS = {"pages": ".json", "page_xml": ".xml", "pictures": ".jpg"}
_COCO = ("coco.json", "coco_results.json")
_FAILED = "failed.json"
_FORMAT = 1
# Bytes that the record and what files and folders take beyond their content fit into.
_ROOM = 1 << 16


class Output:
    """Results of one run in one folder.

    Every page is on disk, whole, before the next one is looked at; the COCO files, the list of
    failures and the record are written when it is closed, also after an interruption and on a disk
    that has become full. Whatever cannot be written is a UserError that names the folder.

    Attributes:
        pages: written so far.
        regions: on these pages.
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
        asked = {"pages": "json" in formats, "page_xml": "page" in formats, "pictures": draw}
        self._kinds = [kind for kind in _OURS if asked[kind]]
        self._record = dict(record)
        self._names = Names()
        self._classes = tuple(classes)
        self.pages = self.regions = 0
        self.failures: list[Failure] = []
        with self._explained():
            self._room = Room(folder, size=_ROOM)
            self._coco = CocoWriter(folder, classes, self._room) if "coco" in formats else None
            files = [RECORD, _FAILED, *(_COCO if self._coco else ())]
            write_text(folder / _WRITTEN, "".join(f"{file}\n" for file in files))
            self._write_record(finished=False)

    def add(self, raw: RawPage, page: Page) -> None:
        """Writes one page in every form that was asked for."""
        name = self._names.take(raw.source, raw.number, raw.pages)
        with self._explained():
            files = {kind: f"{kind}/{name}{_OURS[kind]}" for kind in self._kinds}
            # Before they are there: those of a killed run are known, too.
            with (self._folder / _WRITTEN).open("a", encoding="utf-8") as stream:
                stream.writelines(f"{file}\n" for file in files.values())
            if "pages" in files:
                write_json(self._folder / files["pages"], page.to_dict())
            if "page_xml" in files:
                write_text(self._folder / files["page_xml"], page_xml(page).decode())
            if "pictures" in files:
                self._write_picture(raw, page, self._folder / files["pictures"])
            if self._coco is not None:
                self._coco.add(page, name, several=raw.pages > 1 or raw.number > 1)
        self.pages += 1
        self.regions += len(page.regions)

    def fail(self, failure: Failure) -> None:
        """Notes a file or page that cannot be read."""
        self.failures.append(failure)
        with self._explained():
            self._room.grow(len(json.dumps(_entry(failure), ensure_ascii=False).encode()) + 16)
            self._write_failures()

    def close(self, *, finished: bool) -> None:
        """Writes what describes the whole run; `finished` False after an interruption."""
        self._room.give_back()
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
        import numpy as np

        from graphkd.report.colours import class_colours
        from graphkd.report.content import Boxes
        from graphkd.report.pictures import draw_predictions

        boxes = Boxes(
            np.array([region.box for region in page.regions]),
            [region.label for region in page.regions],
            [region.score for region in page.regions],
        )
        picture = draw_predictions(raw.pixels, boxes, colours=class_colours(self._classes))
        path.parent.mkdir(exist_ok=True)
        content = io.BytesIO()
        picture.save(content, "JPEG", quality=88, subsampling=0)  # thin lines keep their colour
        # Pillow itself would tell a full disk as a broken stream.
        with replacing(path) as stream:
            stream.write(content.getbuffer())

    def _write_failures(self) -> None:
        write_json(self._folder / _FAILED, [_entry(failure) for failure in self.failures])

    def _write_record(self, *, finished: bool) -> None:
        counts = {"pages": self.pages, "regions": self.regions, "failed": len(self.failures)}
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
    """Refuses a folder that holds anything but, with `overwrite`, this command's earlier results.

    Raises:
        UserError: it is a file, holds results and `overwrite` is not said, or holds other files.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: it is a file; name a folder for the results")
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
