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
# The inverse transposes: 90 and 270 degrees undo each other, all others undo themselves.
_BACK = {
    **_TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    8: Image.Transpose.ROTATE_270,
}
_WIDTH, _HEIGHT = 0x0100, 0x0101  # TIFF tags
# Allowed formats. Pillow knows more, but for PostScript it would start Ghostscript.
_FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "DIB", "GIF", "WEBP", "JPEG2000", "PPM")

_DIM = 1 << 13  # below this maximum, a 16-bit page probably holds 12 bits or fewer
_STRIP = 1 << 22  # values converted at a time, so that a large page needs no full float copy
_warned: list[str] = []  # only the first dim page is reported; others of a set look the same

# Pillow warns at half its hard limit, but open_page has its own limit. The filter is set once here,
# because warnings.catch_warnings is not safe in the threads that read pages.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


class ImageProblem(ValueError):
    """A page that cannot be used; `kind` is a key of `graphkd.data.check.problems.KINDS`."""

    def __init__(self, kind: str, message: str):
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class PageHeader:
    """The header of an image file; sizes are (width, height) in pixels."""

    stored: tuple[int, int]
    orientation: int  # EXIF orientation 1..8; 1 if the file has none
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
    """Opens an image by its content, not its extension, without decoding it.

    Raises:
        ImageProblem: of kind image_unreadable, image_truncated or image_too_large.
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
    """Reads size, orientation and format of an image without decoding it.

    Raises:
        ImageProblem: it cannot be opened, or has more than `max_pixels` pixels.
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
    """Whether the extension stands for another format than the content has."""
    expected = Image.registered_extensions().get(Path(path).suffix.lower())
    return expected is not None and header.format not in (expected, "MPO")


def ends_properly(path: str | Path, header: PageHeader) -> bool:
    """Whether the file ends with the end mark of its format: a cheap test for truncated files.

    If it returns False, the file must be decoded to be sure, because bytes after the end mark are
    legal. Formats without an end mark give False.
    """
    marks = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
    mark = marks.get(header.format)
    if mark is None:
        return False
    with open(path, "rb") as stream:
        stream.seek(0, 2)
        # The last chunk of a PNG has 12 bytes, the end mark of a JPEG 2.
        stream.seek(max(stream.tell() - 16, 0))
        return mark in stream.read()


def decode_test(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> None:
    """Decodes the first page of a file, to check that this works.

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
    """Reads a page of any pixel format as an 8-bit array.

    Transparent pages are put on white, 16-bit gray is scaled (not clipped), CMYK and palettes
    become RGB, and only the first frame is read. The EXIF orientation is applied, unless `size`
    shows that the annotations were made on the stored, unrotated pixels.

    Args:
        path: image file; its content decides the format, not its extension.
        size: (width, height) of the annotated page; None means the upright page.
        format: "RGB", "BGR" or "L".
        max_pixels: images with more pixels are refused before they are decoded.

    Returns:
        uint8 array of shape (H, W, 3), or (H, W, 1) for "L".

    Raises:
        ImageProblem: the file cannot be read, is truncated or too large.
    """
    with open_page(path, max_pixels=max_pixels) as image:
        stored, orientation = _stored(image), _orientation(image)
        _load(image)
        # Pillow rotates a TIFF itself while decoding, and then removes the orientation.
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
    """Converts any Pillow image to 8-bit RGB: transparency on white, 16 bits scaled to 8."""
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
    """Converts a gray page of 16 bits, 32 bits or floats to 8 bits. The scale depends on the format
    and never on the contrast of the page.
    """
    values = np.asarray(image)
    rows = max(1, _STRIP // max(values.shape[1], 1))
    strips = [slice(top, top + rows) for top in range(0, values.shape[0], rows)]
    highest = max((float(_finite(values[strip]).max(initial=0.0)) for strip in strips), default=0.0)
    if image.mode == "F":
        scale = 255.0 if highest <= 1.0 else 1.0
    elif image.mode == "I" and highest > 65535:
        scale = 255.0 / (2**31 - 1)
    else:
        scale = 1.0 / 257.0  # 65535 / 257 = 255
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
    """The size stored in the file. For a rotated TIFF, Pillow reports the upright size instead."""
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
    """The decoded image, upright, or as it is stored if `size` is the stored size."""
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
    # For a PNG without EXIF before its pixels, getexif() would decode the whole file.
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
