"""Maps pages of text lines to model inputs: one 3x3 matrix moves page, polygons and maps."""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import shapely
import torch
from detectron2.config import CfgNode
from detectron2.structures import Boxes, Instances

from graphkd.data.check.lines import LEAST_AREA
from graphkd.data.mapper import read_for
from graphkd.errors import UserError
from graphkd.robustness.corruptions import corrupt
from graphkd.robustness.geometry import Projection, border_colour
from graphkd.text.pages import STRIDE, input_scale, input_size, resized
from graphkd.text.polygons import clockwise, fill, largest, min_rectangle, signed_area, valid

# A line that is cut along its length keeps at least this share of its height.
_WHOLE = 0.8
_DEGRADINGS = (
    *("ink-holdout", "ink-bleeding", "illumination", "defocus", "vibration", "speckle"),
    *("texture", "noise", "jpeg", "bleed-through"),
)

# (polygons, ignore, height, width, progress) -> label maps by name, see modeling/maps.
LabelMaker = Callable[[list[np.ndarray], np.ndarray, int, int, float], dict[str, np.ndarray]]


def add_line_config(cfg: CfgNode) -> None:
    """Adds the keys of `LineMapper`; the defaults are those of DB's paper."""
    cfg.INPUT.LINES = CfgNode(
        {
            # Test: the "long" or "short" side gets SIZE pixels, or the page stays "as_is"; then
            # both sides become multiples of 32. Scales in training are relative to this size.
            "RESIZE": "short",
            "SIZE": 736,
            "SCALE": [0.5, 3.0],  # range in training
            "SCALES": [],  # these values in the place of the range, as EAST draws them
            "ROTATION": 10.0,  # degrees, to both sides
            "ROTATION_PROB": 1.0,
            "PERSPECTIVE": 0.0,  # share of the sides by which corners move in at most
            "FLIP": 0.5,  # probability of a mirrored page
            "CROP": 640,  # side of the square crop, a multiple of 32
            "CROP_TRIES": 10,  # places that are tried until the crop cuts no text
            # What becomes of a text that every place cuts: ignored, or, if True and only its length
            # is cut, trained as far as it is in the crop. Lines of a page need True.
            "KEEP_CUT": False,
            "BACKGROUND": 0.0,  # share of crops without text, as far as there are such places
            "COPIES": 0,  # most texts of a page that are copied to free places on it
            "COLOR": 0.0,  # strength of changes of brightness, contrast and colour, 0..1
            "DEGRADE": 0.0,  # probability of a weak corruption of scans and photos
        }
    )


class LineMapper:
    """Reads a page of text lines, augments it in training and gives the model's input.

    A mapped item has: `image` (3, H, W) uint8 in cfg.INPUT.FORMAT; `height` and `width` of the
    page; `file_name`, `image_id`; `polygons`, a tuple of (P, 2) float32 arrays (x, y) in pixels of
    `image`, clockwise; `ignore` (G,) bool; `matrix` (3, 3) float64 from pixels of the page to those
    of `image`, continuous coordinates; `scale`, pixels of `image` for one pixel of the page. In
    training also `progress`; `instances` with the upright boxes of the texts that are not ignored,
    class 0; and `maps`, if there is a label maker.
    """

    def __init__(
        self,
        cfg: CfgNode,
        *,
        is_train: bool,
        label_maker: LabelMaker | None = None,
    ):
        """`label_maker` draws the maps of a model; None for models without maps.

        Raises:
            UserError: a key of INPUT.LINES has a value that has no meaning.
        """
        self.format, self.options, self.is_train = cfg.INPUT.FORMAT, cfg.INPUT.LINES, is_train
        if self.options.RESIZE not in ("long", "short", "as_is"):
            raise UserError(
                f"INPUT.LINES.RESIZE is {self.options.RESIZE!r}; it must be long, short or as_is"
            )
        if self.options.CROP < STRIDE or self.options.CROP % STRIDE:
            raise UserError(
                f"INPUT.LINES.CROP is {self.options.CROP}; it must be a multiple of {STRIDE}"
            )
        self.label_maker = label_maker

    def __call__(self, dataset_dict: dict[str, Any], progress: float = 0.0) -> dict[str, Any]:
        """Maps one dict of `graphkd.data.lines`.

        Args:
            dataset_dict: the page; it is not changed.
            progress: finished share of the training, for schedules of labels.

        Raises:
            UserError: the page cannot be read, or its size differs from the one in the dict.
        """
        image = read_for(dataset_dict, format=self.format)
        lines = dataset_dict.get("lines", ())
        polygons = [np.asarray(line["polygon"], np.float64).reshape(-1, 2) for line in lines]
        ignore = np.array([bool(line["ignore"]) for line in lines], bool)
        height, width = image.shape[:2]
        if self.is_train:
            # The loader seeds numpy's global generator by the position in the stream.
            rng = np.random.default_rng(np.random.randint(2**31))
            image, polygons, ignore = _copied(image, polygons, ignore, rng, self.options.COPIES)
            matrix, size = _draw(rng, polygons, ignore, (height, width), self.options)
            image = _paint(warp(image, matrix, size), rng, self.options)
        else:
            size = input_size(height, width, self.options.RESIZE, self.options.SIZE)
            matrix = np.diag([size[1] / width, size[0] / height, 1.0])
            image = resized(image, size)
        move = Projection(matrix, size)
        polygons = [clockwise(move.points(points)) for points in polygons]
        if self.is_train:
            polygons, ignore = _cut(polygons, ignore, size, keep=self.options.KEEP_CUT)
        item = {k: v for k, v in dataset_dict.items() if k != "lines"}
        item |= {
            "image": torch.as_tensor(np.ascontiguousarray(image.transpose(2, 0, 1))),
            "height": height,
            "width": width,
            "polygons": tuple(points.astype(np.float32) for points in polygons),
            "ignore": ignore,
            "matrix": matrix,
            "scale": float(np.sqrt(abs(np.linalg.det(matrix[:2, :2])))),
        }
        if self.is_train:
            item["progress"] = progress
            item["instances"] = _instances(item["polygons"], ignore, size)
            if self.label_maker is not None:
                maps = self.label_maker(item["polygons"], ignore, *size, progress)
                item["maps"] = {name: torch.as_tensor(value) for name, value in maps.items()}
        return item


def warp(image: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An array (H, W) or (H, W, C) moved by a matrix, at a new `size` (height, width).

    What lies off a page gets the median colour of its rim, off a map 0. What becomes smaller is
    first shrunk by area means, so that thin strokes stay visible.

    Args:
        image: a page (H, W, 3), or a map (H, W) at the size that the matrix is for.
        matrix: (3, 3), from pixels of the page to those of the result; pixel i covers i to i + 1.
        size: of the result.
    """
    across, down, _ = np.diag(matrix)
    ends = across * image.shape[1], down * image.shape[0]
    if np.allclose(matrix, np.diag([across, down, 1])) and np.allclose(ends, size[::-1]):
        return resized(image, size)  # the whole page: there is no border to fill
    scale = np.sqrt(abs(np.linalg.det(matrix[:2, :2])))
    if scale < 1:
        height, width = (max(1, round(side * scale)) for side in image.shape[:2])
        matrix = matrix @ np.diag([image.shape[1] / width, image.shape[0] / height, 1.0])
        image = resized(image, (height, width))
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])  # OpenCV counts from a pixel's middle
    return cv2.warpPerspective(
        np.ascontiguousarray(image),
        np.linalg.inv(half) @ matrix @ half,
        tuple(size[::-1]),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=border_colour(image) if image.ndim == 3 else 0,
    )


def _copied(
    image: np.ndarray,
    polygons: list[np.ndarray],
    ignore: np.ndarray,
    rng: np.random.Generator,
    most: int,
) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """Copies up to `most` texts that are not ignored to places without text."""
    sources = [
        points
        for points, flag in zip(polygons, ignore, strict=True)
        if not flag and (points >= 0).all() and (points <= image.shape[1::-1]).all()
    ]
    count = int(rng.integers(most + 1)) if sources else 0
    if not count:
        return image, polygons, ignore
    image, polygons = image.copy(), list(polygons)
    for _ in range(count):
        points = sources[rng.integers(len(sources))]
        low, high = np.floor(points.min(0)).astype(int), np.ceil(points.max(0)).astype(int)
        corner = (rng.random(2) * (image.shape[1::-1] - (high - low) + 1)).astype(int)
        taken = np.array([[p.min(0), p.max(0)] for p in polygons])
        meets = (taken[:, 0] < corner + high - low) & (taken[:, 1] > corner)
        if meets.all(1).any():
            continue
        (x0, y0), (x1, y1), (x, y) = low, high, corner
        mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
        fill(mask, points - low, 1)
        place = image[y : y + y1 - y0, x : x + x1 - x0]
        place[mask > 0] = image[y0:y1, x0:x1][mask > 0]
        polygons.append(points - low + corner)
    return image, polygons, np.append(ignore, np.zeros(len(polygons) - len(ignore), bool))


def _draw(
    rng: np.random.Generator,
    polygons: list[np.ndarray],
    ignore: np.ndarray,
    shape: tuple[int, int],
    options: CfgNode,
) -> tuple[np.ndarray, tuple[int, int]]:
    """Draws scale, rotation, perspective, flip and crop; the matrix and the size of the crop."""
    height, width = shape
    scale = input_scale(height, width, options.RESIZE, options.SIZE)
    scale *= rng.choice(options.SCALES) if options.SCALES else rng.uniform(*options.SCALE)
    turn = rng.uniform(-1, 1) * options.ROTATION * (rng.random() < options.ROTATION_PROB)
    cos, sin = scale * np.cos(np.deg2rad(turn)), scale * np.sin(np.deg2rad(turn))
    mirror = -1.0 if rng.random() < options.FLIP else 1.0
    centred = np.array([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 1]])
    matrix = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    matrix = matrix @ np.diag([mirror, 1, 1]) @ centred @ _perspective(rng, shape, options)
    frame = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)
    frame = Projection(matrix, (0, 0)).points(frame)
    moved = [Projection(matrix, (0, 0)).points(points) for points in polygons]
    boxes = np.array([[*p.min(0), *p.max(0)] for p in moved]).reshape(-1, 4)
    bounds = np.array([frame.min(0), frame.max(0)])
    corner = _place(rng, boxes, ~ignore, bounds, options)
    shift = np.array([[1, 0, -corner[0]], [0, 1, -corner[1]], [0, 0, 1]])
    return shift @ matrix, (options.CROP, options.CROP)


def _perspective(rng: np.random.Generator, shape: tuple[int, int], options: CfgNode) -> np.ndarray:
    if not options.PERSPECTIVE:
        return np.eye(3)
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float64)
    inward = (1 - 2 * corners) * rng.uniform(0, options.PERSPECTIVE / 2, (4, 2))
    sides = np.array(shape[::-1])
    ends = [(each * sides).astype(np.float32) for each in (corners, corners + inward)]
    return cv2.getPerspectiveTransform(*ends)


def _place(
    rng: np.random.Generator,
    boxes: np.ndarray,
    cared: np.ndarray,
    bounds: np.ndarray,
    options: CfgNode,
) -> np.ndarray:
    """The top left corner of a crop: the place of some random ones that cuts the fewest texts.

    Args:
        rng: the generator.
        boxes: (G, 4) upright boxes x0, y0, x1, y1 of the moved texts.
        cared: (G,) which are not ignored.
        bounds: (2, 2) upper left and lower right corner of the moved page.
        options: cfg.INPUT.LINES.
    """
    side = float(options.CROP)
    background = rng.random() < options.BACKGROUND
    texts = boxes[cared]
    best, least = None, np.inf
    for _ in range(max(options.CROP_TRIES, 1)):
        # A page smaller than the crop lies anywhere in it.
        low, high = np.sort([bounds[0], bounds[1] - side], axis=0)
        if len(texts) and not background:
            box = texts[rng.integers(len(texts))]
            middle = rng.uniform(box[:2], box[2:])  # a line may be longer than the crop
            fits = box[2:] - box[:2] <= side
            low = np.maximum(low, np.where(fits, box[2:], middle) - side)
            high = np.minimum(high, np.where(fits, box[:2], middle))
        corner = rng.uniform(np.minimum(low, high), np.maximum(low, high))
        seen = ((texts[:, :2] < corner + side) & (texts[:, 2:] > corner)).all(1)
        over = (texts[:, :2] < corner) | (texts[:, 2:] > corner + side)
        # With KEEP_CUT, only texts that lose a part of their height count.
        across = np.argmin(texts[:, 2:] - texts[:, :2], axis=1)
        part = over[np.arange(len(texts)), across] if options.KEEP_CUT else over.any(1)
        count = seen.sum() if background else (seen & part).sum()
        if count < least:
            best, least = corner, count
        if count == 0:
            break
    return best


def _cut(
    polygons: list[np.ndarray], ignore: np.ndarray, size: tuple[int, int], *, keep: bool
) -> tuple[list[np.ndarray], np.ndarray]:
    """The polygons within a crop of `size`; those that are cut are ignored, see KEEP_CUT."""
    height, width = size
    window = shapely.box(0, 0, width, height)
    kept, flags = [], []
    for points, flag in zip(polygons, ignore, strict=True):
        if (points >= 0).all() and (points <= (width, height)).all():
            kept.append(points)
            flags.append(flag)
            continue
        if (points.max(0) <= 0).any() or (points.min(0) >= (width, height)).any():
            continue
        rest = largest(valid(points).intersection(window))
        if not len(rest) or abs(signed_area(rest)) < LEAST_AREA:
            continue
        whole = keep and min_rectangle(rest)[1] >= _WHOLE * min_rectangle(points)[1]
        kept.append(clockwise(rest))
        flags.append(bool(flag) or not whole)
    return kept, np.array(flags, bool)


def _instances(
    polygons: tuple[np.ndarray, ...], ignore: np.ndarray, size: tuple[int, int]
) -> Instances:
    """Upright boxes of the texts that are not ignored, in Detectron2's form."""
    boxes = [[*p.min(0), *p.max(0)] for p, flag in zip(polygons, ignore, strict=True) if not flag]
    found = Instances(tuple(size))
    found.gt_boxes = Boxes(torch.as_tensor(np.array(boxes, np.float32).reshape(-1, 4)))
    found.gt_classes = torch.zeros(len(boxes), dtype=torch.int64)
    return found


def _paint(image: np.ndarray, rng: np.random.Generator, options: CfgNode) -> np.ndarray:
    """Changes of colour and weak corruptions; nothing moves."""
    if options.COLOR:
        spread = options.COLOR / 2
        contrast = rng.uniform(1 - spread, 1 + spread, 3 if rng.random() < 0.5 else 1)
        page = (image - 127.5) * contrast + 127.5 + rng.uniform(-128, 128) * spread
        image = np.clip(page + 0.5, 0, 255).astype(np.uint8)
    if rng.random() < options.DEGRADE:
        kind = _DEGRADINGS[rng.integers(len(_DEGRADINGS))]
        worse = _degraded(image, kind, rng)
        # Mixed with the clean page, so that it is weaker than in the robustness test.
        share = rng.uniform(0.3, 0.9)
        image = cv2.addWeighted(worse, share, image, 1 - share, 0)
    return image


def _degraded(image: np.ndarray, kind: str, rng: np.random.Generator) -> np.ndarray:
    image = np.ascontiguousarray(image)
    if kind == "noise":
        noise = rng.standard_normal(image.shape, dtype=np.float32) * rng.uniform(4, 16)
        return np.clip(image + noise + 0.5, 0, 255).astype(np.uint8)
    if kind == "jpeg":
        quality = int(rng.integers(15, 60))
        _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        return cv2.imdecode(data, cv2.IMREAD_COLOR)
    if kind == "bleed-through":  # the print of the other side of the leaf
        behind = cv2.GaussianBlur(image[:, ::-1], (0, 0), 1.5).astype(np.float32)
        light = 1 - rng.uniform(0.15, 0.45) * (1 - behind / 255)
        return (image * light + 0.5).astype(np.uint8)
    return corrupt(image, kind=kind, severity=1, seed=int(rng.integers(2**31))).image
