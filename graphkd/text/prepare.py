"""The one preparation of line pictures, for training, export and prediction: height, width, bucket.

A line gets the height of the network, keeps its aspect, and is padded on the right to the width of
its bucket. The bucket follows from the line alone, so no result depends on the other lines of a
batch.
"""

import bisect

import cv2
import numpy as np

# Written into model files. It changes when the same picture would give other pixels.
PREPARATION = 1
HEIGHT = 32
# Horizontal pixels for one frame of the readers.
STRIDE = 4
BUCKETS = (64, 96, 128, 160, 192, 256, 320, 384, 480, 608, 768, 960, 1216, 1536, 2048)


def line_width(size: tuple[int, int], *, height: int = HEIGHT) -> int:
    """The width of a line of `size` (height, width) at the network's height, in 1..2048 pixels.

    Longer lines are squeezed to the widest bucket.
    """
    return min(max(1, round(height * size[1] / size[0])), BUCKETS[-1])


def bucket_of(width: int) -> int:
    """The smallest bucket that holds a width; the widest one for what is wider."""
    return BUCKETS[min(bisect.bisect_left(BUCKETS, width), len(BUCKETS) - 1)]


def frames_of(width: int) -> int:
    """The number of frames that a reader gives for the valid pixels of a line."""
    return max(1, -(-width // STRIDE))


def prepare_line(
    picture: np.ndarray, *, height: int = HEIGHT, bucket: int | None = None, least: int = 1
) -> tuple[np.ndarray, int]:
    """Brings a picture of one line to the network's height and pads it to its bucket.

    Args:
        picture: uint8 (H, W) grey or (H, W, 3) RGB.
        height: of the network.
        bucket: a given width of the result, for training, where a batch has one width; a line that
            augmentation has made longer is squeezed into it. None: that of the line.
        least: the fewest valid columns, for training; a shorter line is stretched.

    Returns:
        Pixels, uint8 RGB (height, bucket, 3), and the number of valid columns. The columns after
        them are 0 here; the model sets them to 0 after its normalisation.

    Raises:
        ValueError: the picture has no pixel or another shape.
    """
    if picture.ndim == 2:
        picture = picture[:, :, None]
    if picture.ndim != 3 or picture.shape[2] not in (1, 3) or picture.size == 0:
        raise ValueError(f"a picture of shape {picture.shape} is no line")
    width = max(line_width(picture.shape[:2], height=height), least)
    width = min(width, bucket or BUCKETS[-1])
    # Area means keep thin strokes visible in what becomes smaller.
    smaller = height * width < picture.shape[0] * picture.shape[1]
    how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    line = cv2.resize(np.ascontiguousarray(picture), (width, height), interpolation=how)
    pixels = np.zeros((height, bucket or bucket_of(width), 3), np.uint8)
    pixels[:, :width] = line.reshape(height, width, -1)
    return pixels, width
