"""Pictures, folders and PDFs as single pages, read one at a time; no detector and no output."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pypdfium2
from PIL import Image, ImageOps

from graphkd.data.images import MAX_PIXELS, ImageProblem, open_page, read_page, to_rgb
from graphkd.errors import UserError
from graphkd.predict.ranges import PageRanges

READABLE = frozenset(
    ".jpg .jpeg .png .tif .tiff .bmp .gif .webp .jp2 .j2k .ppm .pgm .pbm .pdf".split()
)
_SUBFILE, _REDUCED = 254, 1  # TIFF tag: this frame is a small copy of another
_NOT_REGULAR = "not a regular file"
_CLOSED = "a folder that cannot be looked into"
_NO_TARGET = "a link to a file that is not there"
_POINTS = 72  # a PDF point is 1/72 inch


@dataclass(frozen=True)
class RawPage:
    """One page as pixels.

    Attributes:
        source: the file as the user named it.
        number: page in the file, counted from 1.
        pages: how many pages of the file are read.
        pixels: (H, W, 3) uint8, RGB, upright.
    """

    source: str
    number: int
    pages: int
    pixels: np.ndarray


@dataclass(frozen=True)
class Failure:
    """A file (`number` None) or a page of it that cannot be read, with the reason in one line;
    `pages` as for `RawPage`.
    """

    source: str
    number: int | None
    reason: str
    pages: int = 1

    def __str__(self) -> str:
        page = "" if self.number is None else f", page {self.number}"
        return f"{self.source}{page}: {self.reason}"


def find_files(
    inputs: Sequence[Path | str], *, recursive: bool = False, outside: Path | None = None
) -> list[Path]:
    """The files that `inputs` mean, each once: files as given, folders in natural order.

    A link to a file that is gone is among them, for `read_file` to tell.

    Args:
        inputs: files of any ending, and folders, of which files with a readable ending are taken;
            hidden files are not.
        recursive: also look into the folders of folders.
        outside: a folder whose content is not taken (the output).

    Raises:
        UserError: a path that does not exist or is a pipe or device, or a folder without a
            readable file.
    """
    found: dict[str, Path] = {}
    for path in map(Path, inputs):
        if path.is_dir():
            files = _in_folder(path, recursive=recursive, outside=outside)
            if not files:
                kinds = ", ".join(sorted(kind[1:] for kind in READABLE))
                raise UserError(f"{_say(path)}: no file of a readable type in it ({kinds})")
        elif path.is_file() or _leads_nowhere(path):
            files = [path]
        elif path.exists():
            raise UserError(f"{_say(path)}: {_NOT_REGULAR}")
        else:
            raise UserError(f"{_say(path)}: no such file or folder")
        for file in files:
            found.setdefault(os.path.realpath(file), file)
    return list(found.values())


def natural_key(path: Path) -> tuple:
    """Sorts page9 before page10, without regard to case, folder by folder."""
    folders = tuple(_split_numbers(part) for part in path.parent.parts)
    return folders, _split_numbers(path.stem), path.suffix


def read_file(
    path: Path, *, dpi: int = 150, wanted: PageRanges | None = None
) -> Iterator[RawPage | Failure]:
    """The pages of a file, read one by one when they are asked for.

    Args:
        path: picture (of a GIF or WebP the first frame), TIFF of one or more pages, or PDF; the
            content decides, not the ending.
        dpi: resolution at which PDF pages are drawn, in dots per inch.
        wanted: which pages of a PDF or TIFF; by default all. Other files have one page.
    """
    source = _say(path)
    # A pipe would be waited for.
    if os.path.exists(path) and not os.path.isfile(path):
        yield Failure(source, None, _CLOSED if os.path.isdir(path) else _NOT_REGULAR)
        return
    try:
        with open(path, "rb") as stream:
            is_pdf = _says_pdf(stream.read(1024), path)
    except OSError as error:
        reason = _NO_TARGET if _leads_nowhere(path) else f"cannot be opened ({error.strerror})"
        yield Failure(source, None, reason)
        return
    if is_pdf:
        yield from _read_pdf(path, source, dpi, wanted)
        return
    try:
        frames = _frames(path)
        single = frames is None or (frames == [0] and (wanted is None or 1 in wanted))
        pixels = read_page(path) if single else None
    except ImageProblem as problem:
        yield Failure(source, None, str(problem))
        return
    if single:
        yield RawPage(source, 1, 1, pixels)
    else:
        yield from _read_frames(path, source, frames, wanted)


def _in_folder(folder: Path, *, recursive: bool, outside: Path | None) -> list[Path]:
    """Readable files; a folder that cannot be looked into stands for what it may hold."""
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


def _says_pdf(head: bytes, path: Path) -> bool:
    """Whether the first bytes are a PDF's; some have others before them, and so has a picture with
    a comment about a PDF.
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


def _read_pdf(
    path: Path, source: str, dpi: int, wanted: PageRanges | None
) -> Iterator[RawPage | Failure]:
    try:
        document = pypdfium2.PdfDocument(path)
    except Exception as error:  # nearly anything on a damaged file
        encrypted = "password" in str(error).lower()
        damaged = "damaged PDF, or one without pages"
        reason = "it is encrypted and needs a password" if encrypted else damaged
        yield Failure(source, None, reason)
        return
    try:
        if document.get_formtype():
            document.init_forms()  # else filled-in fields are not drawn
        numbers, failure = _choose(source, len(document), wanted)
        if failure is not None:
            yield failure
        for number in numbers:
            yield _drawn(document, source, number, pages=len(numbers), dpi=dpi)
    finally:
        document.close()


def _drawn(
    document: pypdfium2.PdfDocument, source: str, number: int, *, pages: int, dpi: int
) -> RawPage | Failure:
    try:
        return RawPage(source, number, pages, _draw(document, number, dpi))
    except ImageProblem as problem:
        return Failure(source, number, str(problem), pages)
    except Exception as error:  # pdfium's errors, and those of memory
        return Failure(source, number, f"cannot be drawn ({_short(error)})", pages)


def _draw(document: pypdfium2.PdfDocument, number: int, dpi: int) -> np.ndarray:
    page = document[number - 1]
    try:
        width, height = page.get_size()
        if not (width > 0 and height > 0):
            raise ImageProblem("image_unreadable", "the page has no size")
        pixels = width * height * (dpi / _POINTS) ** 2
        if pixels > MAX_PIXELS:
            raise ImageProblem(
                "image_too_large",
                f"{pixels / 1e6:.0f} million pixels at {dpi} dpi, the limit is "
                f"{MAX_PIXELS / 1e6:.0f}; choose a lower --dpi",
            )
        bitmap = page.render(scale=dpi / _POINTS, rev_byteorder=True)
        try:
            return bitmap.to_numpy()[:, :, :3].copy()  # the bitmap's memory goes with it
        finally:
            bitmap.close()
    finally:
        page.close()


def _frames(path: Path) -> list[int] | None:
    """Which frames of a TIFF are pages: all but small copies, or the first where there is no other.
    None for a file of another kind.
    """
    with open_page(path) as image:
        if image.format != "TIFF":
            return None
        try:
            count = image.n_frames
            pages = []
            for index in range(count):
                image.seek(index)
                if not image.tag_v2.get(_SUBFILE, 0) & _REDUCED:
                    pages.append(index)
        except Exception as error:
            reason = f"its list of pages is damaged ({_short(error)})"
            raise ImageProblem("image_unreadable", reason) from None
    return pages or [0]


def _read_frames(
    path: Path, source: str, frames: list[int], wanted: PageRanges | None
) -> Iterator[RawPage | Failure]:
    numbers, failure = _choose(source, len(frames), wanted)
    if failure is not None:
        yield failure
    with open_page(path) as image:
        for number in numbers:
            try:
                pixels = _read_frame(image, frames[number - 1])
            except ImageProblem as problem:
                yield Failure(source, number, str(problem), len(numbers))
            except Exception as error:  # decoders raise nearly anything on damaged files
                yield Failure(source, number, f"cannot be decoded ({_short(error)})", len(numbers))
            else:
                yield RawPage(source, number, len(numbers), pixels)


def _read_frame(image: Image.Image, index: int) -> np.ndarray:
    image.seek(index)
    if image.width * image.height > MAX_PIXELS:
        reason = f"more than the limit of {MAX_PIXELS / 1e6:.0f} million pixels"
        raise ImageProblem("image_too_large", reason)
    image.load()
    return np.asarray(to_rgb(ImageOps.exif_transpose(image)))


def _choose(source: str, count: int, wanted: PageRanges | None) -> tuple[list[int], Failure | None]:
    if not count:
        return [], Failure(source, None, "it has no pages")
    chosen = [n for n in range(1, count + 1) if wanted is None or n in wanted]
    if chosen:
        return chosen, None
    has = "1 page" if count == 1 else f"{count} pages"
    return [], Failure(source, None, f"it has {has}, none of {wanted}")


def _split_numbers(text: str) -> tuple:
    parts = re.split(r"([0-9]+)", text.casefold())
    return tuple((int(p), "") if p.isdecimal() else (-1, p) for p in parts if p)


def _say(path: Path) -> str:
    """The path as text that can be written as UTF-8, whatever bytes it is made of."""
    return os.fsencode(path).decode("utf-8", "replace")


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
