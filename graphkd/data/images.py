"""Reading page images of any kind as 8-bit RGB or BGR arrays."""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

logger = logging.getLogger(__name__)

MAX_PIXELS = 178_956_970  # Pillow's own hard limit; about 540 MB as 8-bit RGB
_ORIENTATION = 0x0112
_TURNED = {5, 6, 7, 8}  # EXIF orientations that swap width and height
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# A quarter turn is undone by the other one; every other orientation undoes itself.
_BACK = {
    **_TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    8: Image.Transpose.ROTATE_270,
}
_WIDTH, _HEIGHT = 0x0100, 0x0101  # TIFF tags
# What pages are kept in. Pillow knows more formats, and for PostScript it starts Ghostscript.
_FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "DIB", "GIF", "WEBP", "JPEG2000", "PPM")

_DIM = 1 << 13  # a 16-bit page that is nowhere brighter has 12 bits or fewer
_STRIP = 1 << 22  # values converted at a time, so that a big page needs no copy as floats
_warned: list[str] = []  # dim pages; one is enough, since the others of a set look the same

# Pillow warns at half its hard limit; open_page has one clear limit of its own. Set once here,
# because warnings.catch_warnings is not safe in the threads that read pages.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


class ImageProblem(ValueError):
    """A page that cannot be used; `kind` is a key of `graphkd.data.check.problems.KINDS`."""

    def __init__(self, kind: str, message: str):
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class PageHeader:
    """What the first bytes of an image file say; sizes are (width, height) in pixels."""

    stored: tuple[int, int]
    orientation: int  # EXIF orientation 1..8; 1 where there is none
    format: str
    mode: str
    frames: int
    transparent: bool

    @property
    def upright(self) -> tuple[int, int]:
        """The size after the EXIF orientation is applied."""
        return self.stored[::-1] if self.orientation in _TURNED else self.stored

    @property
    def unusual(self) -> bool:
        """Whether reading it needs more than a plain conversion to RGB."""
        return self.transparent or self.mode not in ("RGB", "L", "1", "P")


@contextlib.contextmanager
def open_page(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> Iterator[Image.Image]:
    """Open an image by its content, not its extension; no pixel is decoded yet.

    Raises:
        ImageProblem: kind image_unreadable, image_truncated or image_too_large.
    """
    path = Path(path)
    try:
        image = Image.open(path, formats=_FORMATS)
    except Image.DecompressionBombError:
        raise ImageProblem(
            "image_too_large", f"more than the limit of {max_pixels / 1e6:.0f} million pixels"
        ) from None
    except UnidentifiedImageError:
        empty = path.stat().st_size == 0
        raise ImageProblem(
            "image_unreadable", "the file is empty" if empty else "not an image that can be read"
        ) from None
    except FileNotFoundError:
        raise ImageProblem("image_missing", f"{path} is not there") from None
    except Exception as error:  # decoders raise nearly anything on damaged files
        raise ImageProblem("image_unreadable", f"cannot be opened ({_say(error)})") from None
    with image:
        width, height = image.size
        if width * height > max_pixels:
            raise ImageProblem(
                "image_too_large",
                f"{width} x {height} pixels; the limit is {max_pixels / 1e6:.0f} million",
            )
        yield image


def read_header(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> PageHeader:
    """Size, orientation and kind of an image without decoding it.

    Raises:
        ImageProblem: it cannot be opened or holds more than `max_pixels` pixels.
    """
    with open_page(path, max_pixels=max_pixels) as image:
        return PageHeader(
            stored=_stored(image),
            orientation=_orientation(image),
            format=image.format or "",
            mode=image.mode,
            frames=_frames(image),
            transparent=_transparent(image),
        )


def wrong_extension(path: str | Path, header: PageHeader) -> bool:
    """Whether the extension promises another format than the content has."""
    expected = Image.registered_extensions().get(Path(path).suffix.lower())
    return expected is not None and header.format not in (expected, "MPO")


def ends_properly(path: str | Path, header: PageHeader) -> bool:
    """Whether the file has its format's end mark near the end; a cheap test for cut-off files.

    False means "decode it to be sure": bytes after the end mark are legal. Formats without an
    end mark give False.
    """
    marks = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
    mark = marks.get(header.format)
    if mark is None:
        return False
    with open(path, "rb") as stream:
        stream.seek(0, 2)
        stream.seek(max(stream.tell() - 16, 0))
        return mark in stream.read()


def decode_test(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> None:
    """Decode the first page of a file and throw the pixels away.

    Raises:
        ImageProblem: the file cannot be decoded or is cut off.
    """
    with open_page(path, max_pixels=max_pixels) as image:
        # libjpeg can decode at an eighth of the size: every byte is read, little memory is used.
        image.draft(image.mode, (max(image.width // 8, 1), max(image.height // 8, 1)))
        _load(image)


def read_page(
    path: str | Path,
    *,
    size: tuple[int, int] | None = None,
    format: str = "RGB",
    max_pixels: int = MAX_PIXELS,
) -> np.ndarray:
    """Read a page as an 8-bit array, whatever it is stored as.

    Transparency is put on white, 16-bit gray is scaled (not cut), CMYK and palettes become RGB,
    of several frames the first is read, and the EXIF orientation is applied unless `size` says
    that the annotations were made on the stored, unturned pixels.

    Args:
        path: image file; its content decides the format, not its extension.
        size: (width, height) that the annotations are for; None means the upright page.
        format: "RGB", "BGR" or "L".
        max_pixels: more pixels than this are refused before anything is decoded.

    Returns:
        uint8 array of shape (H, W, 3), or (H, W, 1) for "L".

    Raises:
        ImageProblem: it cannot be read, is cut off or too large.
    """
    with open_page(path, max_pixels=max_pixels) as image:
        stored, orientation = _stored(image), _orientation(image)
        _load(image)
        # Pillow turns a TIFF by itself while decoding, and takes the orientation out then.
        turned = orientation != 1 and _orientation(image) == 1
        try:
            rgb = to_rgb(_turn(image, stored, orientation, turned=turned, size=size))
        except MemoryError:
            raise ImageProblem("image_too_large", "more pixels than memory can hold") from None
    if format == "L":
        return np.asarray(rgb.convert("L"))[:, :, None]
    array = np.asarray(rgb)
    if format == "RGB":
        return array
    if format == "BGR":
        return array[:, :, ::-1]
    raise ValueError(f"image format {format!r} is not one of RGB, BGR, L")


def to_rgb(image: Image.Image) -> Image.Image:
    """An 8-bit RGB picture of any Pillow image: white paper below transparency, 16 bit scaled."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I") or image.mode == "F":
        return to_8_bit(image).convert("RGB")
    if _transparent(image):
        layer = image.convert("RGBA")
        paper = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(paper, layer).convert("RGB")
    return image.convert("RGB")


def to_8_bit(image: Image.Image) -> Image.Image:
    """A gray page of 16 or 32 bits or floats in 8 bits: scaled by its kind, never stretched."""
    values = np.asarray(image)
    rows = max(1, _STRIP // max(values.shape[1], 1))
    strips = [slice(top, top + rows) for top in range(0, values.shape[0], rows)]
    highest = max((float(_finite(values[strip]).max(initial=0.0)) for strip in strips), default=0.0)
    if image.mode == "F":
        scale = 255.0 if highest <= 1.0 else 1.0
    elif image.mode == "I" and highest > 65535:
        scale = 255.0 / (2**31 - 1)
    else:
        scale = 1.0 / 257.0
        if 0 < highest < _DIM and not _warned:
            name = getattr(image, "filename", "") or "a page"
            _warned.append(name)
            logger.warning(
                "%s: the brightest of its 16-bit values is %.0f of 65535, all but black; "
                "stretch such pages if they have fewer bits (only the first is named)",
                name,
                highest,
            )
    shown = np.empty(values.shape, np.uint8)
    for strip in strips:
        shown[strip] = np.clip(_finite(values[strip]) * scale + 0.5, 0, 255).astype(np.uint8)
    return Image.fromarray(shown)


def _finite(values: np.ndarray) -> np.ndarray:
    return np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)


def _stored(image: Image.Image) -> tuple[int, int]:
    """Size of the pixels in the file; for a turned TIFF, Pillow's own size is the upright one."""
    if image.format != "TIFF":
        return image.size
    try:
        return int(image.tag_v2[_WIDTH]), int(image.tag_v2[_HEIGHT])
    except (KeyError, TypeError, ValueError):
        return image.size


def _turn(
    image: Image.Image,
    stored: tuple[int, int],
    orientation: int,
    *,
    turned: bool,
    size: tuple[int, int] | None,
) -> Image.Image:
    """The decoded image upright, or as it is stored where `size` asks for that."""
    upright = stored[::-1] if orientation in _TURNED else stored
    if size is not None and size == stored and size != upright:
        return image.transpose(_BACK[orientation]) if turned else image
    if orientation == 1 or turned:
        return image
    return image.transpose(_TRANSPOSE[orientation])


def _load(image: Image.Image) -> None:
    try:
        image.load()
    except Exception as error:  # decoders raise nearly anything on damaged files
        text = str(error).lower()
        cut = "truncated" in text or "end of file" in text or "incomplete" in text
        raise ImageProblem(
            "image_truncated" if cut else "image_unreadable",
            "the file is cut off" if cut else f"cannot be decoded ({_say(error)})",
        ) from None


def _orientation(image: Image.Image) -> int:
    # Asking Pillow for the EXIF of a PNG that has none before its pixels decodes the whole file.
    if image.format == "PNG" and "exif" not in image.info:
        return 1
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF: Pillow's parser raises nearly anything
        return 1
    return value if value in range(1, 9) else 1


def _frames(image: Image.Image) -> int:
    if image.format not in ("TIFF", "GIF", "WEBP"):
        return 1
    try:
        return int(getattr(image, "n_frames", 1))
    except Exception:  # a damaged second page must not lose the first
        return 1


def _transparent(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info


def _say(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
