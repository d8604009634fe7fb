"""Gray pages of more than 8 bits; reads no file."""

import logging

import numpy as np
from PIL import Image

logger = logging.getLogger(__name__)

_DIM = 1 << 13  # a 16-bit page that is nowhere brighter has 12 bits or fewer
_STRIP = 1 << 22  # values converted at a time, so that a big page needs no copy as floats
_warned: list[str] = []


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
        if 0 < highest < _DIM:
            name = getattr(image, "filename", "") or "a page"
            _warn_once(
                f"{name}: the brightest of its 16-bit values is {highest:.0f} of 65535, all but "
                "black; stretch such pages if they have fewer bits (only the first is named)"
            )
    shown = np.empty(values.shape, np.uint8)
    for strip in strips:
        shown[strip] = np.clip(_finite(values[strip]) * scale + 0.5, 0, 255).astype(np.uint8)
    return Image.fromarray(shown)


def _warn_once(text: str) -> None:
    """A page is read in every epoch, and a set of such scans has no other pages."""
    if not _warned:
        _warned.append(text)
        logger.warning("%s", text)


def _finite(values: np.ndarray) -> np.ndarray:
    return np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
