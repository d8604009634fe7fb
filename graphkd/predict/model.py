"""A detector file as one object that turns pictures into pages of regions; it writes nothing."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from graphkd.errors import UserError
from graphkd.predict.detector import Detector, Found, Prepared
from graphkd.predict.memory import is_path, is_picture, raw_page
from graphkd.predict.ranges import parse_ranges
from graphkd.predict.results import Page, Region
from graphkd.predict.sources import Failure, RawPage, find_files, read_file
from graphkd.predict.thresholds import choose_thresholds

WEIGHTS = (".pth", ".safetensors", ".onnx")


class Model:
    """A trained detector, ready for pages; made by `graphkd.load`.

    Attributes:
        classes: class names in the order of class numbers.
        thresholds: class name -> score from which a region is shown, as the weights file says; may
            be empty, then 0.5 holds.
        card: facts about the training that the file tells.
        name: of the weights file.
        floor: no region of a lower score is ever found, whatever threshold is asked for.
    """

    def __init__(self, detector: Detector):
        self._detector = detector
        self.classes = detector.classes
        self.thresholds = dict(detector.thresholds)
        self.card = dict(detector.card)
        self.name = detector.name
        self.floor = detector.floor

    def predict(
        self,
        pages: Any,
        *,
        score: float | None = None,
        score_class: Mapping[str, float] | None = None,
        batch: int = 1,
        dpi: int = 150,
        page_numbers: str | None = None,
    ) -> list[Page]:
        """The pages of `iterate`, which tells about the arguments, as a list."""
        return list(
            self.iterate(
                pages,
                score=score,
                score_class=score_class,
                batch=batch,
                dpi=dpi,
                page_numbers=page_numbers,
            )
        )

    def iterate(
        self,
        pages: Any,
        *,
        score: float | None = None,
        score_class: Mapping[str, float] | None = None,
        batch: int = 1,
        dpi: int = 150,
        page_numbers: str | None = None,
    ) -> Iterator[Page]:
        """Finds the regions of pages one after another; not more than a batch is in memory.

        Args:
            pages: path of a picture, PDF or folder; uint8 array (H, W, 3) in RGB or (H, W); PIL
                image; or a list of such. An empty list gives no page.
            score: lowest shown score in 0..1; by default that of the file, else 0.5.
            score_class: class name -> lowest shown score, before all others.
            batch: pages at once; only neighbours of one size share a batch.
            dpi: at which PDF pages are drawn.
            page_numbers: of PDFs and TIFFs, such as "1-3,7"; by default all.

        Raises:
            UserError: a page that cannot be read, an unknown class, a score outside 0..1.
        """
        shown = choose_thresholds(
            self.classes, stored=self.thresholds, score=score, by_class=score_class
        )
        raw = _raw_pages(pages, dpi=dpi, page_numbers=page_numbers)
        for _, page in self.detect(_or_raise(raw), shown=shown, batch=batch):
            yield page

    def detect(
        self, pages: Iterable[RawPage], *, shown: Mapping[str, float], batch: int = 1
    ) -> Iterator[tuple[RawPage, Page]]:
        """Pairs of page and finds, in order; pages are read as they are needed.

        Args:
            pages: the pages.
            shown: class name -> lowest shown score, every class.
            batch: at most so many neighbours of one shape at once.
        """
        if batch < 1:
            raise UserError(f"the batch holds at least 1 page, not {batch}")
        for group in _batches(pages, self._detector, batch):
            found = self._detector.detect([prepared for _, prepared in group])
            for (raw, _), finds in zip(group, found, strict=True):
                yield raw, self._page(raw, finds, shown)

    def _page(self, raw: RawPage, found: Found, shown: Mapping[str, float]) -> Page:
        if not (np.isfinite(found.boxes).all() and np.isfinite(found.scores).all()):
            raise UserError(
                f"{self.name}: it gives boxes that are not numbers; its weights are bad"
            )
        regions = []
        for place in np.argsort(-found.scores, kind="stable"):
            label, score = self.classes[int(found.classes[place])], float(found.scores[place])
            if score >= shown[label]:
                regions.append(Region(label, score, tuple(found.boxes[place].tolist())))
        height, width = raw.pixels.shape[:2]
        return Page(raw.source, raw.number, width, height, tuple(regions))


def load_model(
    weights: Path | str | None = None,
    *,
    config: Path | str | None = None,
    trust: bool = False,
    device: str | None = None,
) -> Model:
    """Loads a detector.

    Args:
        weights: `.pth`, `.safetensors` or `.onnx`; None means the one that comes with graphkd.
        config: a run's yaml, for a `.pth` that holds none.
        trust: also unpickle objects other than tensors, which can run any code.
        device: "cpu", "cuda" or "cuda:1"; None means the GPU where there is one (ONNX: the CPU).

    Raises:
        UserError: no such file, another kind of file, a damaged one, or no such device.
    """
    if weights is None:
        from graphkd.shipped import default_weights

        weights = default_weights()
    path = Path(weights)
    if path.suffix == ".onnx":
        if config is not None:
            raise UserError(f"{path}: an ONNX file has its config inside; leave --config out")
        from graphkd.predict.onnx_detector import load_onnx

        return Model(load_onnx(path, device=device))
    if path.suffix not in WEIGHTS:
        raise UserError(f"{path}: a model is a {', '.join(WEIGHTS)} file")
    from graphkd.predict.torch_detector import load_torch

    return Model(load_torch(path, config=config, trust=trust, device=device))


def _raw_pages(pages: Any, *, dpi: int, page_numbers: str | None) -> Iterator[RawPage | Failure]:
    wanted = parse_ranges(page_numbers) if page_numbers is not None else None
    if dpi < 1:
        raise UserError(f"the resolution is at least 1 dpi, not {dpi}")
    several = [pages] if is_path(pages) or is_picture(pages) else pages
    if not isinstance(several, Iterable):
        raise UserError(
            f"a {type(pages).__name__} is no page; give a path, an array, a PIL image or a list"
        )
    for number, value in enumerate(several, start=1):
        if is_path(value):
            for path in find_files([value]):
                yield from read_file(path, dpi=dpi, wanted=wanted)
        elif is_picture(value):
            yield raw_page(value, number=number)
        else:
            raise UserError(
                f"a {type(value).__name__} is no page; give a path, an array or a PIL image"
            )


def _or_raise(pages: Iterable[RawPage | Failure]) -> Iterator[RawPage]:
    for page in pages:
        if isinstance(page, Failure):
            raise UserError(str(page))
        yield page


def _batches(
    pages: Iterable[RawPage], detector: Detector, size: int
) -> Iterator[list[tuple[RawPage, Prepared]]]:
    """Neighbouring pages of one shape, at most `size` together."""
    group: list[tuple[RawPage, Prepared]] = []
    for raw in pages:
        prepared = detector.prepare(raw.pixels)
        if group and group[-1][1].shape != prepared.shape:
            yield group
            group = []
        group.append((raw, prepared))
        if len(group) == size:  # else the next page is read before this batch is seen
            yield group
            group = []
    if group:
        yield group
