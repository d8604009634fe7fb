"""Finds the images that a json names, and checks them."""

import os
import threading
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from tqdm import tqdm

from graphkd.data.check.boxes import as_int
from graphkd.data.check.problems import SKIP, Problem
from graphkd.data.images import (
    MAX_PIXELS,
    ImageProblem,
    PageHeader,
    decode_test,
    ends_properly,
    read_header,
    wrong_extension,
)

_BIG = 20_000_000  # pages with more pixels are decoded one at a time, to limit the memory
_one_big_page = threading.Lock()
_BATCH = 512  # images that wait for a thread; the limit keeps the memory for big sets small


class Folder:
    """Finds files by name below `root`; every folder is listed only once."""

    def __init__(self, root: str | Path):
        self.root = Path(root)
        self._listings: dict[Path, tuple[dict[str, str], dict[str, str]]] = {}

    def find(self, name: Any) -> tuple[Path | None, Problem | None]:
        """Finds the file of a name.

        Args:
            name: "file_name" of an image in the json, relative to the root.

        Returns:
            (path, None), (path, problem) if the name on the disk has another Unicode normal form,
            or (None, problem) if the name is refused or the file is missing.
        """
        if not isinstance(name, str) or not name.strip():
            return None, Problem("no_file_name", f"file_name is {name!r}")
        if _leaves(name):
            text = f"the file name leaves {self.root} (only names below it are read)"
            return None, Problem("path_outside", text, file=name)
        try:
            path = self.root / name
            if os.path.isfile(path):
                return path, None
            relative = PurePosixPath(name)
            by_form, by_case = self._listing(self.root / relative.parent)
        except (ValueError, OSError):  # a null byte, a lone surrogate, or a name that is too long
            return None, Problem("image_missing", "the file name is not allowed", file=name)
        twin = by_form.get(unicodedata.normalize("NFC", relative.name))
        if twin is not None and (path.parent / twin).is_file():
            text = "found under another Unicode normal form (NFC/NFD) of its name"
            return path.parent / twin, Problem("name_normal_form", text, file=name)
        hint = by_case.get(relative.name.casefold())
        return None, Problem("image_missing", self._missing(path, hint), file=name)

    def _missing(self, path: Path, hint: str | None) -> str:
        if not self.root.is_dir():
            return f"missing: the image folder {self.root} does not exist"
        if hint is not None:
            return f"missing: {path} is not there, but {hint} is: upper and lower case differ"
        return f"missing: {path} is not there"

    def _listing(self, folder: Path) -> tuple[dict[str, str], dict[str, str]]:
        if folder not in self._listings:
            names = os.listdir(folder) if folder.is_dir() else []
            self._listings[folder] = (
                {unicodedata.normalize("NFC", name): name for name in names},
                {name.casefold(): name for name in names},
            )
        return self._listings[folder]


def _leaves(name: str) -> bool:
    if not any(mark in name for mark in ("/", "\\", ":", "..")):
        return False
    if PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive or name.startswith("\\"):
        return True
    depth = 0
    for part in name.replace("\\", "/").split("/"):
        depth += {"..": -1, ".": 0, "": 0}.get(part, 1)
        if depth < 0:
            return True
    return False


def find_files(
    images: dict[int, dict[str, Any]], root: Path, found: Callable[[Problem], None]
) -> list[tuple[int, Path]]:
    """(image id, path) of every image whose file exists.

    If the name on the disk has another Unicode normal form, `images` gets that name.
    """
    folder = Folder(root)
    files = []
    for image_id, image in images.items():
        path, problem = folder.find(image.get("file_name"))
        if problem is not None:
            found(replace(problem, image_id=image_id))
        if path is not None:
            if problem is not None:
                images[image_id] = {**image, "file_name": path.relative_to(root).as_posix()}
            files.append((image_id, path))
    return files


@dataclass
class PageFile:
    """The result of checking one image file; `header` is None if it is unusable or not checked."""

    path: Path
    header: PageHeader | None
    problems: list[Problem] = field(default_factory=list)

    @property
    def unusable(self) -> Problem | None:
        """Why the page cannot be used; None if it can, or if it was not checked."""
        return next((problem for problem in self.problems if problem.level == SKIP), None)


def inspect_page(path: Path, name: str, *, decode: bool, max_pixels: int = MAX_PIXELS) -> PageFile:
    """Checks one image.

    Args:
        path: the file.
        name: its name in the json, for messages.
        decode: decode the image; otherwise only a file without a proper end mark is decoded.
        max_pixels: images with more pixels are refused without decoding.
    """
    try:
        header = read_header(path, max_pixels=max_pixels)
        if decode or not ends_properly(path, header):
            if header.stored[0] * header.stored[1] > _BIG:
                with _one_big_page:
                    decode_test(path, max_pixels=max_pixels)
            else:
                decode_test(path, max_pixels=max_pixels)
    except ImageProblem as error:
        return PageFile(path, None, [Problem(error.kind, str(error), file=name)])
    except OSError as error:
        text = f"cannot be read ({error.strerror})"
        return PageFile(path, None, [Problem("image_unreadable", text, file=name)])
    return PageFile(path, header, list(_remarks(path, name, header)))


def _remarks(path: Path, name: str, header: PageHeader) -> Iterator[Problem]:
    if header.frames > 1:
        text = f"holds {header.frames} pages; only the first is used"
        yield Problem("several_frames", text, file=name)
    if header.orientation != 1:
        yield Problem("exif_rotation", f"EXIF orientation {header.orientation}", file=name)
    if header.unusual:
        yield Problem("unusual_pixels", f"{header.format} of mode {header.mode}", file=name)
    if wrong_extension(path, header):
        yield Problem("wrong_extension", f"is a {header.format} inside", file=name)


def look_at(
    files: Sequence[tuple[Any, Path]],
    images: Mapping[Any, dict[str, Any]],
    *,
    inspect: bool = True,
    decode: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> list[tuple[Any, PageFile]]:
    """Checks many images in parallel, with a progress bar if it takes long.

    Args:
        files: (image id, path), from `find_files`.
        images: the json's entries by id.
        inspect: check all images; otherwise only those without a size in the json.
        decode: see `inspect_page`.
        max_pixels: see `inspect_page`.

    Returns:
        (image id, result) in the order of `files`.
    """
    looked = {i: PageFile(path, None) for i, path in files}
    jobs = [(i, path) for i, path in files if inspect or declared_size(images[i]) in (None, (1, 1))]

    def one(job: tuple[Any, Path]) -> tuple[Any, PageFile]:
        name = images[job[0]]["file_name"]
        return job[0], inspect_page(job[1], name, decode=decode, max_pixels=max_pixels)

    with (
        ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool,
        progress("looking at images", len(jobs)) as bar,
    ):
        for first in range(0, len(jobs), _BATCH):
            for image_id, page in pool.map(one, jobs[first : first + _BATCH]):
                looked[image_id] = page
                bar.update()
    return list(looked.items())


def declared_size(image: dict[str, Any]) -> tuple[int, int] | None:
    """Width and height of an image in the json; None if they are no valid sizes."""
    size = as_int(image.get("width"))[0] or 0, as_int(image.get("height"))[0] or 0
    return size if min(size) > 0 else None


def progress(text: str, total: int) -> tqdm:
    """A progress bar for work on many pages, shown only on a terminal and after one second."""
    return tqdm(total=total, desc=text, unit="page", disable=None, leave=False, delay=1)
