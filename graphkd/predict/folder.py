"""The folder of a command's results: file names, the list of files, failures, overwriting."""

import contextlib
import json
import os
import re
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from graphkd import __version__
from graphkd.errors import UserError
from graphkd.io import DISK_ERRORS, write_json, write_text
from graphkd.predict.documents import Failure

# The list of written files, one per line. A later run with --overwrite removes only these.
WRITTEN = "written.txt"
FAILED = "failed.json"
_FORMAT = 1
# Enough bytes for the record, and for what files and folders need besides their content.
_RESERVE = 1 << 16
_MAX_BYTES = 120  # most file systems allow 255, and endings and numbers are added
_RESERVED = {"con", "prn", "aux", "nul"} | {f"{n}{i}" for n in ("com", "lpt") for i in range(1, 10)}


@dataclass(frozen=True)
class Kind:
    """The results of one command.

    Attributes:
        record: the file that tells such a folder from others.
        files: names of the other files that may lie directly in it.
        folders: folder in it -> ending of its files.
    """

    record: str
    files: tuple[str, ...]
    folders: Mapping[str, str]

    def owns(self, path: Path) -> bool:
        """Whether this command writes files of this folder, name and ending."""
        if len(path.parts) == 1:
            return path.name in (self.record, FAILED, *self.files)
        return len(path.parts) == 2 and self.folders.get(path.parts[0]) == path.suffix


class Results:
    """The files of one run in one folder.

    The list of failures and the record are written by `close`, also after an interruption or if the
    disk is full. If something cannot be written, a UserError names the folder.

    Args:
        folder: it exists; see `clear_folder`.
        kind: of the command.
        files: names of the files directly in it that will be written.
        record: what the record says.
        again: what the user adds to the command to go on after a full disk.

    Attributes:
        pages: written so far.
        regions: on these pages.
        lines: of text in these regions.
        failures: what could not be read.
    """

    def __init__(
        self,
        folder: Path,
        kind: Kind,
        *,
        files: Sequence[str],
        record: Mapping[str, Any],
        again: str = "--overwrite",
    ):
        self.folder = folder
        self._kind, self._record, self._again = kind, dict(record), again
        self.pages = self.regions = self.lines = 0
        self.failures: list[Failure] = []
        with self.explained():
            self.space = ReservedSpace(folder, size=_RESERVE)
            names = (kind.record, FAILED, *files)
            write_text(folder / WRITTEN, "".join(f"{file}\n" for file in names))
            self._write_record(finished=False)

    def announce(self, files: Iterable[str]) -> None:
        """Lists files before they are written; so the list is complete if the run is killed."""
        with (self.folder / WRITTEN).open("a", encoding="utf-8") as stream:
            stream.writelines(f"{file}\n" for file in files)

    def fail(self, failure: Failure) -> None:
        """Records a file or page that cannot be read."""
        self.failures.append(failure)
        with self.explained():
            self.space.grow(len(json.dumps(_entry(failure), ensure_ascii=False).encode()) + 16)
            self._write_failures()

    def close(self, *, finished: bool) -> None:
        """Writes the files about the whole run; `finished` is False after an interruption."""
        self.space.give_back()
        with self.explained():
            # The counts first: the last files may not fit if another program fills the disk.
            self._write_record(finished=False)
            if self.failures:
                self._write_failures()
            self.finish()
            if finished:
                self._write_record(finished=True)

    def finish(self) -> None:
        """Writes what holds all pages; nothing unless a command has such files."""

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Turns errors of the disk into one line for the user."""
        try:
            yield
        except OSError as error:
            if error.errno not in DISK_ERRORS:
                raise
            raise UserError(
                f"{self.folder}: nothing more can be written there ({error.strerror or error}); "
                f"{self.pages} pages are complete; free disk space, then start again with "
                f"{self._again}"
            ) from error

    def _write_failures(self) -> None:
        write_json(self.folder / FAILED, [_entry(failure) for failure in self.failures])

    def _write_record(self, *, finished: bool) -> None:
        counts = {"pages": self.pages, "regions": self.regions, "lines": self.lines}
        counts["failed"] = len(self.failures)
        write_json(
            self.folder / self._kind.record,
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


def check_folder(folder: Path, kind: Kind, *, overwrite: bool) -> None:
    """Checks that results can be written to a folder. It must be empty, or hold results of this
    command that may be overwritten. Nothing is made or changed.

    Raises:
        UserError: it is a file, cannot be written, or holds other files; or it holds results and
            `overwrite` is False.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: it is a file; name a folder for the results")
    parent = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not parent.is_dir():
        raise UserError(f"{folder}: it cannot be made, since {parent} is a file")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise UserError(f"{folder}: you may not write in {parent}; name another folder")
    # If the list is the only file, an earlier run stopped before its first result.
    if not folder.exists() or all(path.name == WRITTEN for path in folder.iterdir()):
        return
    if not (folder / kind.record).is_file():
        raise UserError(
            f"{folder}: it is not empty and holds no earlier results of this command; "
            "name another folder"
        )
    if not overwrite:
        raise UserError(
            f"{folder}: it holds earlier results; name another folder, or --overwrite them"
        )
    if not (folder / WRITTEN).is_file():
        raise UserError(
            f"{folder}: it is not known which of its files are results (there is no {WRITTEN}); "
            "name another folder"
        )


def clear_folder(folder: Path, kind: Kind, *, keep: Iterable[Path] = ()) -> None:
    """Makes the folder, and removes the results of an earlier run; other files stay.

    Raises:
        UserError: a file in `keep` is one of these results. Then nothing is removed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    results = _results(folder, kind)
    ours = {os.path.realpath(path) for path in results}
    for path in keep:
        if os.path.realpath(path) in ours:
            raise UserError(
                f"{path}: it is a result of the earlier run, which --overwrite removes; name "
                "another folder for the results"
            )
    for path in results:
        path.unlink(missing_ok=True)
    for inside in (folder / name for name in kind.folders):
        if inside.is_dir() and not any(inside.iterdir()):
            inside.rmdir()


def _results(folder: Path, kind: Kind) -> list[Path]:
    """The files in `folder` that an earlier run of this command has written."""
    list_file = folder / WRITTEN
    if not list_file.is_file():
        return []
    lines = list_file.read_text(encoding="utf-8", errors="replace").replace("\0", "").splitlines()
    found = [folder / line for line in lines if kind.owns(Path(line))]
    return [path for path in found if path.is_file() or path.is_symlink()] + [list_file]


class Names:
    """Gives every page a new name; names that differ only in case count as equal."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, source: str, number: int, pages: int) -> str:
        """The name, without ending, for a page.

        Args:
            source: the file of the page.
            number: number of the page in the file, from 1.
            pages: number of pages of the file; if there are several, the name ends in `_p0001`.
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
    """The file name without its ending. Letters and digits of any language, `-`, `_` and `.` are
    kept, other characters become `_`. It is never empty, hidden, too long, or a Windows device.
    """
    name = PurePath(source).name
    name = PurePath(name).stem if PurePath(name).suffix else name
    name = re.sub(r"[^\w.-]", "_", unicodedata.normalize("NFC", name))
    name = name.encode()[:_MAX_BYTES].decode("utf-8", "ignore").strip(".-") or "page"
    return f"{name}_" if name.split(".")[0].casefold() in _RESERVED else name


class ReservedSpace:
    """Reserves disk space so that the final files can be written even when the disk fills up.

    A full disk is then noticed early enough to end the run properly.
    """

    def __init__(self, folder: Path, *, size: int):
        """Reserves `size` bytes.

        Raises:
            OSError: the disk is full; `grow` raises it, too.
        """
        # A file without a name, which disappears with the process.
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)
        self.grow(size)

    def grow(self, size: int) -> None:
        """Reserves `size` more bytes."""
        rest = bytes(size)
        while rest:
            rest = rest[self._file.write(rest) :]

    def give_back(self) -> None:
        """Frees all reserved bytes."""
        self._file.close()
