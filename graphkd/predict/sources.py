"""Reads images, folders, PDFs and images in memory as single pages, one at a time."""

import contextlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from graphkd.data.images import MAX_PIXELS, ImageProblem, open_page, read_page, to_rgb
from graphkd.errors import UserError
from graphkd.predict.documents import (
    AskPassword,
    Failure,
    PageRanges,
    RawPage,
    choose,
    count_pdf,
    open_pdf,
    parse_ranges,
    read_frames,
    read_pdf,
    tiff_frames,
)

READABLE = frozenset(
    ".jpg .jpeg .png .tif .tiff .bmp .gif .webp .jp2 .j2k .ppm .pgm .pbm .pdf".split()
)
_NOT_REGULAR = "not a regular file"
_CLOSED = "a folder that cannot be read"
_NO_TARGET = "a link to a file that does not exist"


def no_password(source: str) -> None:
    """An `AskPassword` that has no password."""
    return None


def read_pages(
    pages: Any, *, dpi: int, page_numbers: str | None, password: str | None
) -> Iterator[RawPage | Failure]:
    """The pages of an argument of `Model.iterate`; each is read when it is needed."""
    wanted = parse_ranges(page_numbers) if page_numbers is not None else None
    if dpi < 1:
        raise UserError(f"the resolution is at least 1 dpi, not {dpi}")
    one = isinstance(pages, (str, os.PathLike, np.ndarray, Image.Image))
    several = [pages] if one else pages
    if not isinstance(several, Iterable):
        raise UserError(
            f"a {type(pages).__name__} is no page; give a path, an array, a PIL image or a list"
        )
    for number, value in enumerate(several, start=1):
        if isinstance(value, (str, os.PathLike)):
            for path in find_files([value]):
                yield from read_file(path, dpi=dpi, wanted=wanted, ask=lambda _: password)
        elif isinstance(value, (np.ndarray, Image.Image)):
            yield _from_memory(value, f"image {number}")
        else:
            raise UserError(
                f"a {type(value).__name__} is no page; give a path, an array or a PIL image"
            )


def find_files(
    inputs: Sequence[Path | str], *, recursive: bool = False, outside: Path | None = None
) -> list[Path]:
    """Lists the files of `inputs`, each once: files in the given order, those of folders in natural
    order.

    A link to a missing file is listed, too; `read_file` reports it.

    Args:
        inputs: files with any ending, and folders. Of folders, files with a readable ending are
            listed, except hidden ones.
        recursive: include the sub-folders of folders.
        outside: a folder whose files are left out (the output).

    Raises:
        UserError: a path does not exist or is a pipe or device, or a folder has no readable file.
    """
    found: dict[str, Path] = {}
    for path in map(Path, inputs):
        if path.is_dir():
            files = _in_folder(path, recursive=recursive, outside=outside)
            if not files:
                kinds = ", ".join(sorted(kind[1:] for kind in READABLE))
                raise UserError(f"{_name_of(path)}: no file of a readable type in it ({kinds})")
        elif path.is_file() or _leads_nowhere(path):
            files = [path]
        elif path.exists():
            raise UserError(f"{_name_of(path)}: {_NOT_REGULAR}")
        else:
            raise UserError(f"{_name_of(path)}: no such file or folder")
        for file in files:
            found.setdefault(os.path.realpath(file), file)
    return list(found.values())


def check_pages(files: Sequence[Path], wanted: PageRanges) -> None:
    """Checks that one of the files has one of the wanted pages, without rendering a page.

    Raises:
        UserError: no file has one. Files whose pages cannot be counted are assumed to have one.
    """
    reason = None
    for path in files:
        if not os.path.isfile(path):  # reading a pipe would wait for data
            return
        try:
            with open(path, "rb") as stream:
                is_pdf = _is_pdf(stream.read(1024), path)
            frames = None if is_pdf else tiff_frames(path)
        except (OSError, ImageProblem):
            return
        count = count_pdf(path) if is_pdf else frames and len(frames)
        if count is None or choose(count, wanted)[1] is None:
            return
        reason = reason or f"{_name_of(path)}: {choose(count, wanted)[1]}"
    if reason is not None:
        others = f" (the same for {len(files) - 1} more)" if len(files) > 1 else ""
        raise UserError(f"--pages: {reason}{others}")


def read_file(
    path: Path,
    *,
    dpi: int = 150,
    wanted: PageRanges | None = None,
    ask: AskPassword = no_password,
    max_pixels: int | None = None,
) -> Iterator[RawPage | Failure]:
    """The pages of a file; each is read when it is needed.

    Args:
        path: an image (of a GIF or WebP the first frame is read), a TIFF with one or more pages, or
            a PDF. The content decides, not the ending.
        dpi: resolution at which PDF pages are rendered, in dots per inch.
        wanted: the pages of a PDF or TIFF; by default all. Other files have one page.
        ask: called with the file name if a PDF is encrypted.
        max_pixels: PDF pages with more are rendered smaller, pictures refused; None: the limit of
            pictures for both.
    """
    source = _name_of(path)
    frames = _frames_of(path, source)
    if isinstance(frames, Failure):
        yield frames
    elif frames == _PDF:
        yield from read_pdf(path, source, dpi=dpi, wanted=wanted, ask=ask, max_pixels=max_pixels)
    elif frames is None or (frames == [0] and (wanted is None or wanted.has(1, count=1))):
        try:
            pixels = read_page(path, max_pixels=max_pixels or MAX_PIXELS)
        except ImageProblem as problem:
            yield Failure(source, None, str(problem))
            return
        yield RawPage(source, 1, 1, pixels)
    else:
        yield from read_frames(path, source, frames, wanted)


@dataclass(frozen=True)
class PageRef:
    """One page of a file that has been counted but not read.

    Attributes:
        path: the file.
        source: its name as a text.
        number: of the page, from 1.
        pages: number of pages that are read from the file.
        password: of an encrypted PDF.
    """

    path: Path
    source: str
    number: int = 1
    pages: int = 1
    password: str | None = None


def list_pages(
    path: Path, *, wanted: PageRanges | None = None, ask: AskPassword = no_password
) -> list[PageRef] | Failure:
    """The pages of a file without reading them, or why there are none; see `read_file`."""
    source = _name_of(path)
    frames = _frames_of(path, source)
    if isinstance(frames, Failure):
        return frames
    if frames is None:
        return [PageRef(path, source)]
    given: list[str | None] = [None]
    if frames == _PDF:

        def noted(source: str) -> str | None:
            given.append(ask(source))
            return given[-1]

        document = open_pdf(path, source, noted)
        if isinstance(document, Failure):
            return document
        with contextlib.closing(document):
            count = len(document)
    else:
        count = len(frames)
    numbers, reason = choose(count, wanted)
    if reason is not None:
        return Failure(source, None, reason)
    return [PageRef(path, source, number, len(numbers), given[-1]) for number in numbers]


@contextlib.contextmanager
def opened(ref: PageRef, *, dpi: int, max_pixels: int | None = None) -> Iterator[RawPage | Failure]:
    """A page that `list_pages` has found; a PDF stays open during the block."""
    pages = read_file(
        ref.path,
        dpi=dpi,
        wanted=PageRanges(str(ref.number), ((ref.number, ref.number),)),
        ask=lambda _: ref.password,
        max_pixels=max_pixels,
    )
    with contextlib.closing(pages):
        yield replace(next(pages), pages=ref.pages)


_PDF = "pdf"


def _frames_of(path: Path, source: str) -> Failure | str | list[int] | None:
    """`_PDF`, the frames of a TIFF that are pages, None for other files, or why it is unreadable.

    Of other files it is not known yet whether they can be decoded.
    """
    # Reading a pipe would wait for data.
    if os.path.exists(path) and not os.path.isfile(path):
        return Failure(source, None, _CLOSED if os.path.isdir(path) else _NOT_REGULAR)
    try:
        with open(path, "rb") as stream:
            if _is_pdf(stream.read(1024), path):
                return _PDF
    except OSError as error:
        reason = _NO_TARGET if _leads_nowhere(path) else f"cannot be opened ({error.strerror})"
        return Failure(source, None, reason)
    try:
        return tiff_frames(path)
    except ImageProblem as problem:
        return Failure(source, None, str(problem))


def natural_key(path: Path) -> tuple:
    """A sort key that puts page9 before page10, ignores case, and keeps folders together."""

    def numbers(text: str) -> tuple:
        parts = re.split(r"([0-9]+)", text.casefold())
        return tuple((int(p), "") if p.isdecimal() else (-1, p) for p in parts if p)

    return tuple(map(numbers, path.parent.parts)), numbers(path.stem), path.suffix


def _in_folder(folder: Path, *, recursive: bool, outside: Path | None) -> list[Path]:
    """The readable files of a folder; sub-folders that cannot be read are listed themselves."""
    avoided = outside.resolve() if outside is not None else None
    files: list[Path] = []

    def note(error: OSError) -> None:
        path = Path(error.filename)
        if path == folder or not path.name.startswith("."):
            files.append(path)

    for place, inner, names in os.walk(folder, onerror=note):
        if not recursive:
            inner.clear()
        for path in (Path(place, name) for name in names):
            if path.suffix.lower() not in READABLE or path.name.startswith("."):
                continue
            if avoided is None or avoided not in path.resolve().parents:
                files.append(path)
    return sorted(files, key=natural_key)


def _is_pdf(head: bytes, path: Path) -> bool:
    """Whether a file is a PDF. Some PDFs have other bytes before the mark, but an image with a
    comment about a PDF has, too.
    """
    if head.startswith(b"%PDF-") or b"%PDF-" not in head:
        return head.startswith(b"%PDF-")
    try:
        with open_page(path):
            return False
    except ImageProblem:
        return True


def _leads_nowhere(path: Path) -> bool:
    return os.path.islink(path) and not os.path.exists(path)


def _name_of(path: Path) -> str:
    """The path as a text that can be written as UTF-8, whatever bytes it contains."""
    return os.fsencode(path).decode("utf-8", "replace")


def _from_memory(image: Any, name: str) -> RawPage:
    """A page from a uint8 array (H, W), (H, W, 1) or (H, W, 3) in RGB, or from a PIL image, which
    is converted to RGB and turned upright like a file.
    """
    pixels = _of_pil(image, name) if isinstance(image, Image.Image) else _of_array(image, name)
    if pixels.shape[0] * pixels.shape[1] > MAX_PIXELS:
        raise UserError(f"{name}: more than {MAX_PIXELS / 1e6:.0f} million pixels")
    return RawPage(name, 1, 1, pixels)


def _of_pil(image: Image.Image, name: str) -> np.ndarray:
    try:
        image.load()
        return np.asarray(to_rgb(ImageOps.exif_transpose(image)))
    except Exception as error:  # damaged files raise nearly any exception
        raise UserError(f"{name}: cannot be decoded ({error})") from error


def _of_array(image: np.ndarray, name: str) -> np.ndarray:
    if image.dtype != np.uint8:
        raise UserError(f"{name}: an array of {image.dtype}; give uint8 pixels in 0..255")
    if image.ndim == 2:
        image = image[:, :, None]
    if image.ndim != 3 or image.shape[2] not in (1, 3):
        raise UserError(
            f"{name}: an array of shape {image.shape}; give (height, width, 3) in RGB or "
            "(height, width), and several pages as a list"
        )
    if 0 in image.shape:
        raise UserError(f"{name}: it has no pixels")
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image
