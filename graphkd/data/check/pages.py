"""Looking at every image of a set in parallel with bounded memory; judges no box."""

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from graphkd.data.check.problems import Problem
from graphkd.data.images import (
    MAX_PIXELS,
    ImageProblem,
    PageHeader,
    decode_test,
    ends_properly,
    read_header,
    wrong_extension,
)

_BIG = 20_000_000  # pages of more pixels than this are decoded one at a time
_one_big_page = threading.Lock()
_BATCH = 512


@dataclass
class PageFile:
    """What was found out about one image file; `header` is None where it cannot be used."""

    path: Path
    header: PageHeader | None
    problems: list[Problem] = field(default_factory=list)


def inspect_page(path: Path, name: str, *, decode: bool, max_pixels: int = MAX_PIXELS) -> PageFile:
    """Look at one image.

    Args:
        path: the file.
        name: its name in the json, for messages.
        decode: decode every page; otherwise only files without a proper end mark.
        max_pixels: larger pages are refused without decoding.

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
        return PageFile(path, None, [Problem(error.kind, f"{error}; left out", file=name)])
    except OSError as error:
        text = f"cannot be read ({error.strerror}); left out"
        return PageFile(path, None, [Problem("image_unreadable", text, file=name)])
    return PageFile(path, header, list(_remarks(path, name, header)))


def _remarks(path: Path, name: str, header: PageHeader) -> Iterator[Problem]:
    if header.frames > 1:
        text = f"holds {header.frames} pages; only the first is used"
        yield Problem("several_frames", text, file=name)
    if header.orientation != 1:
        text = f"EXIF orientation {header.orientation}"
        yield Problem("exif_rotation", text, file=name)
    if header.unusual:
        yield Problem("unusual_pixels", f"{header.format} of mode {header.mode}", file=name)
    if wrong_extension(path, header):
        yield Problem("wrong_extension", f"is a {header.format} inside", file=name)


def inspect_pages(
    jobs: Iterable[tuple[Path, str]],
    *,
    decode: bool,
    max_pixels: int = MAX_PIXELS,
    advance: Callable[[int], None] | None = None,
) -> Iterator[PageFile]:
    """Look at many images, in order; only a few hundred results are held at a time.

    Args:
        jobs: pairs of path and name.
        decode: see `inspect_page`.
        max_pixels: see `inspect_page`.
        advance: called with the number of images done since the last call.

    """
    iterator = iter(jobs)
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        while batch := list(islice(iterator, _BATCH)):
            looked = pool.map(
                lambda job: inspect_page(job[0], job[1], decode=decode, max_pixels=max_pixels),
                batch,
            )
            for page in looked:
                if advance is not None:
                    advance(1)
                yield page
