"""Pictures that come as arrays or PIL images, as pages; no files."""

import os
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from graphkd.data.images import MAX_PIXELS, to_rgb
from graphkd.errors import UserError
from graphkd.predict.sources import RawPage


def raw_page(image: Any, *, number: int) -> RawPage:
    """A page of a picture in memory; it is called "image NUMBER".

    Args:
        image: uint8 array of shape (H, W), (H, W, 1) or (H, W, 3) in RGB, or a PIL image, which is
            turned upright and converted as a file would be.
        number: its place among the inputs, from 1.

    Raises:
        UserError: another type or shape, no pixels, too many, or a PIL file that is damaged.
    """
    name = f"image {number}"
    pixels = _of_pil(image, name) if isinstance(image, Image.Image) else _of_array(image, name)
    if pixels.shape[0] * pixels.shape[1] > MAX_PIXELS:
        raise UserError(f"{name}: more than {MAX_PIXELS / 1e6:.0f} million pixels")
    return RawPage(name, 1, 1, pixels)


def is_picture(value: Any) -> bool:
    """Whether `value` is one picture in memory (an array or a PIL image), not a path or a list."""
    return isinstance(value, (np.ndarray, Image.Image))


def is_path(value: Any) -> bool:
    """Whether `value` names a file or folder."""
    return isinstance(value, (str, os.PathLike))


def _of_pil(image: Image.Image, name: str) -> np.ndarray:
    try:
        image.load()
        return np.asarray(to_rgb(ImageOps.exif_transpose(image)))
    except Exception as error:  # decoders raise nearly anything on damaged files
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
