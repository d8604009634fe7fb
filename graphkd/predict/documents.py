"""Reads pages of PDFs and TIFFs one at a time, and parses page numbers such as 1-3,7."""

import contextlib
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pypdfium2
from PIL import Image, ImageOps

from graphkd.data.images import MAX_PIXELS, ImageProblem, open_page, to_rgb
from graphkd.errors import UserError

_SUBFILE, _REDUCED = 254, 1  # TIFF tag, and its bit for a frame that is a small copy of another
_POINTS = 72  # a PDF point is 1/72 inch

# Returns the password of an encrypted PDF by its file name; None if there is none.
AskPassword = Callable[[str], str | None]


@dataclass(frozen=True)
class RawPage:
    """One page as pixels.

    Attributes:
        source: the file name that the user gave.
        number: number of the page in the file, from 1.
        pages: number of pages that are read from the file.
        pixels: (H, W, 3) uint8, RGB, upright.
        dpi: at which a PDF page was drawn; None for pictures.
        pdf: the open PDF that the page is in, until the next page is asked for; None for pictures.
    """

    source: str
    number: int
    pages: int
    pixels: np.ndarray
    dpi: float | None = None
    pdf: pypdfium2.PdfDocument | None = None


@dataclass(frozen=True)
class Failure:
    """A file (`number` is None) or a page that cannot be read, and the reason; `pages` as in
    `RawPage`.
    """

    source: str
    number: int | None
    reason: str
    pages: int = 1

    def __str__(self) -> str:
        page = "" if self.number is None else f", page {self.number}"
        return f"{self.source}{page}: {self.reason}"


@dataclass(frozen=True)
class PageRanges:
    """A set of page numbers, counted from 1, or from the end where they are negative.

    Attributes:
        text: the user's text.
        spans: first and last number of each part; -1 is the last page.
    """

    text: str
    spans: tuple[tuple[int, int], ...]

    def has(self, number: int, *, count: int) -> bool:
        """Whether a document with `count` pages has this one in the set."""
        spans = ([end + (count + 1) * (end < 0) for end in span] for span in self.spans)
        return any(first <= number <= last for first, last in spans)


def parse_ranges(text: str) -> PageRanges:
    """Reads `1-3,7`, `5-` (to the end) or `-1` (the last page).

    Raises:
        UserError: another text, page 0, or a range that ends before it begins.
    """
    spans = []
    for part in text.split(","):
        found = re.fullmatch(r"\s*(-?[0-9]+)\s*(?:(-)\s*(-?[0-9]+)?)?\s*", part)
        first = int(found[1]) if found else 0
        last = int(found[3] or -1) if found and found[2] else first
        if not first or not last or (first > 0) == (last > 0) and last < first:
            raise UserError(
                f"--pages {text!r}: write page numbers from 1 on, such as 1-3,7 or 5-; -1 is the "
                "last page"
            )
        spans.append((first, last))
    return PageRanges(text.strip(), tuple(spans))


def choose(count: int, wanted: PageRanges | None) -> tuple[list[int], str | None]:
    """The page numbers in `wanted` of a document with `count` pages, or the reason why there are
    none.
    """
    if not count:
        return [], "it has no pages"
    chosen = [n for n in range(1, count + 1) if wanted is None or wanted.has(n, count=count)]
    if chosen:
        return chosen, None
    return [], f"it has {'1 page' if count == 1 else f'{count} pages'}, none of {wanted.text}"


def count_pdf(path: Path, password: str | None = None) -> int | None:
    """Number of pages of a PDF; None if it is no PDF, damaged, or encrypted otherwise."""
    try:
        document = pypdfium2.PdfDocument(path, password=password)
    except pypdfium2.PdfiumError:
        return None
    with contextlib.closing(document):
        return len(document)


def read_pdf(
    path: Path,
    source: str,
    *,
    dpi: int,
    wanted: PageRanges | None,
    ask: AskPassword,
    max_pixels: int | None = None,
) -> Iterator[RawPage | Failure]:
    """The pages of a PDF; each is rendered when it is needed. `max_pixels` as in `draw_page`."""
    document = open_pdf(path, source, ask)
    if isinstance(document, Failure):
        yield document
        return
    with contextlib.closing(document):
        if document.get_formtype():
            document.init_forms()  # otherwise filled-in form fields are not rendered
        numbers, reason = choose(len(document), wanted)
        if reason is not None:
            yield Failure(source, None, reason)
        for number in numbers:
            try:
                pixels, drawn = draw_page(document, number, dpi=dpi, max_pixels=max_pixels)
                yield RawPage(source, number, len(numbers), pixels, drawn, document)
            except ImageProblem as problem:
                yield Failure(source, number, str(problem), len(numbers))
            except Exception as error:  # errors of pdfium, or too little memory
                yield Failure(source, number, f"cannot be drawn ({short(error)})", len(numbers))


def open_pdf(path: Path, source: str, ask: AskPassword) -> pypdfium2.PdfDocument | Failure:
    """An open PDF, or why it cannot be opened; `ask` is called if it is encrypted."""
    password, reason = None, "it is encrypted and needs a password (--password-file)"
    for _ in range(2):
        try:
            return pypdfium2.PdfDocument(path, password=password)
        except Exception as error:  # damaged files raise nearly any exception
            if "password" not in str(error).lower():
                return Failure(source, None, "damaged PDF, or one without pages")
        if password is not None:
            return Failure(source, None, "it is encrypted, and the password is wrong")
        password = ask(source)
        if password is None:
            break
    return Failure(source, None, reason)


def draw_page(
    document: pypdfium2.PdfDocument, number: int, *, dpi: float, max_pixels: int | None = None
) -> tuple[np.ndarray, float]:
    """A page of a PDF as uint8 RGB (H, W, 3), and the dpi at which it was drawn.

    Args:
        document: an open PDF.
        number: of the page, from 1.
        dpi: wanted.
        max_pixels: a page with more is drawn at a lower dpi; None: it is refused above the limit of
            pictures.

    Raises:
        ImageProblem: the page has no size, or is too large.
    """
    page = document[number - 1]
    try:
        size = page.get_size()
        if not min(size) > 0:
            raise ImageProblem("image_unreadable", "the page has no size")
        pixels = math.prod(size) * (dpi / _POINTS) ** 2
        if max_pixels is not None and pixels > max_pixels:
            dpi *= (max_pixels / pixels) ** 0.5
            # pdfium rounds sides up, which counts on small pages.
            while dpi > 1 and math.prod(math.ceil(s * dpi / _POINTS) for s in size) > max_pixels:
                dpi *= 0.995
        elif pixels > MAX_PIXELS:
            raise ImageProblem(
                "image_too_large",
                f"{pixels / 1e6:.0f} million pixels at {dpi} dpi, the limit is "
                f"{MAX_PIXELS / 1e6:.0f}; choose a lower --dpi",
            )
        bitmap = page.render(scale=dpi / _POINTS, rev_byteorder=True)
        try:
            # The array shares the bitmap's memory.
            return bitmap.to_numpy()[:, :, :3].copy(), dpi
        finally:
            bitmap.close()
    finally:
        page.close()


def tiff_frames(path: Path) -> list[int] | None:
    """The frames of a TIFF that are pages: all except small copies of others, or the first if there
    are only copies. None for other kinds of files.

    Raises:
        ImageProblem: the file is no image, or damaged.
    """
    with open_page(path) as image:
        if image.format != "TIFF":
            return None
        try:
            pages = []
            for index in range(image.n_frames):
                image.seek(index)
                if not image.tag_v2.get(_SUBFILE, 0) & _REDUCED:
                    pages.append(index)
        except Exception as error:
            reason = f"its list of pages is damaged ({short(error)})"
            raise ImageProblem("image_unreadable", reason) from None
    return pages or [0]


def read_frames(
    path: Path, source: str, frames: list[int], wanted: PageRanges | None
) -> Iterator[RawPage | Failure]:
    """The pages of a TIFF; each is decoded when it is needed."""
    numbers, reason = choose(len(frames), wanted)
    if reason is not None:
        yield Failure(source, None, reason)
    with open_page(path) as image:
        for number in numbers:
            try:
                yield RawPage(source, number, len(numbers), _frame(image, frames[number - 1]))
            except ImageProblem as problem:
                yield Failure(source, number, str(problem), len(numbers))
            except Exception as error:  # damaged files raise nearly any exception
                yield Failure(source, number, f"cannot be decoded ({short(error)})", len(numbers))


def _frame(image: Image.Image, index: int) -> np.ndarray:
    image.seek(index)
    if image.width * image.height > MAX_PIXELS:
        reason = f"more than the limit of {MAX_PIXELS / 1e6:.0f} million pixels"
        raise ImageProblem("image_too_large", reason)
    image.load()
    return np.asarray(to_rgb(ImageOps.exif_transpose(image)))


def short(error: Exception) -> str:
    """The beginning of an error's message, on one line."""
    return " ".join(str(error).split())[:120] or type(error).__name__
