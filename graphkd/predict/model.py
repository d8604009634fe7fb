"""A loaded model that converts images and PDFs to pages with regions."""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from graphkd import shipped
from graphkd.document import Page, Region
from graphkd.errors import UserError
from graphkd.modelfile import read_model
from graphkd.packages import require_training
from graphkd.predict.detector import PageError, Predictor
from graphkd.predict.sources import Failure, RawPage, read_pages
from graphkd.tasks.base import task_named

WEIGHTS = (".pth", ".safetensors", ".onnx")


class Model:
    """A trained model, loaded with `graphkd.load`.

    Attributes:
        task: name of the task, such as "layout".
        classes: class names in the order of class numbers.
        thresholds: class name -> lowest shown score by the weights file, else 0.5.
        card: facts about the training from the file.
        name: name of the weights file.
        floor: the model finds no regions with lower scores, whatever the thresholds are.
    """

    def __init__(self, predictor: Predictor):
        self._predictor = predictor
        header = predictor.header
        self.name, self.task, self.classes = predictor.name, header.task, header.classes
        self.thresholds, self.card = predictor.shown_scores(), dict(header.card)
        self.floor = header.score_floor

    def predict(self, pages: Any, **options: Any) -> list[Page]:
        """The pages of `iterate` as a list, with the same arguments."""
        return list(self.iterate(pages, **options))

    def iterate(
        self,
        pages: Any,
        *,
        score: float | None = None,
        score_class: Mapping[str, float] | None = None,
        batch: int = 1,
        dpi: int = 150,
        page_numbers: str | None = None,
        password: str | None = None,
    ) -> Iterator[Page]:
        """Finds the regions on pages one after another; only one batch is in memory.

        Args:
            pages: path of an image, PDF or folder; uint8 array (H, W, 3) in RGB or (H, W); PIL
                image; or a list of these, which may be empty.
            score: lowest shown score in 0..1; by default that of the file, else 0.5.
            score_class: class name -> lowest shown score, which replaces all others.
            batch: number of pages at once; only pages of one size share a batch.
            dpi: resolution at which PDF pages are rendered.
            page_numbers: pages of PDFs and TIFFs, such as "1-3,7"; by default all.
            password: password of encrypted PDFs.

        Raises:
            UserError: a page cannot be read, a class is unknown, or a score is outside 0..1.
        """
        shown = self.shown_scores(score=score, by_class=score_class)
        raw = read_pages(pages, dpi=dpi, page_numbers=page_numbers, password=password)
        for _, page in self.detect(_or_raise(raw), shown=shown, batch=batch):
            yield page

    def shown_scores(
        self, *, score: float | None = None, by_class: Mapping[str, float] | None = None
    ) -> Mapping[str, float]:
        """The lowest shown score of every class, see `Predictor.shown_scores`."""
        return self._predictor.shown_scores(score=score, by_class=by_class)

    def detect(
        self, pages: Iterable[RawPage], *, shown: Mapping[str, float], batch: int = 1
    ) -> Iterator[tuple[RawPage, Page]]:
        """Pairs of the page as read and its result, in order; pages are read when they are needed.

        Args:
            pages: the pages.
            shown: class name -> lowest shown score, for every class.
            batch: largest number of pages of one shape at once.

        Raises:
            UserError: the model gives something that is not finite on a page.
        """
        if batch < 1:
            raise UserError(f"the batch size is {batch}; it must be 1 or more")
        ahead = batch * self._predictor.ahead if batch > 1 else 1
        pages = iter(pages)
        while window := list(itertools.islice(pages, ahead)):
            found = self._regions(window, shown=shown, batch=batch)
            for raw, regions in zip(window, found, strict=True):
                height, width = raw.pixels.shape[:2]
                yield raw, Page(raw.source, raw.number, width, height, regions)

    def _regions(
        self, pages: Sequence[RawPage], *, shown: Mapping[str, float], batch: int
    ) -> list[tuple[Region, ...]]:
        """The regions of pages, run in batches of one shape."""
        prepared = [self._predictor.prepare(raw.pixels) for raw in pages]
        by_shape = defaultdict(list)
        for place, each in enumerate(prepared):
            by_shape[each.shape].append(place)
        found: list[tuple[Region, ...]] = [()] * len(pages)
        for places in by_shape.values():
            for start in range(0, len(places), batch):
                group = places[start : start + batch]
                try:
                    regions = self._predictor.regions([prepared[i] for i in group], shown=shown)
                except PageError as error:
                    raw = pages[group[error.index]]
                    raise UserError(f"{raw.source}, page {raw.number}: {error}") from error
                for place, own in zip(group, regions, strict=True):
                    found[place] = own
        return found


def load_model(
    weights: Path | str | None = None,
    *,
    config: Path | str | None = None,
    trust: bool = False,
    device: str | None = None,
    decoding: Mapping[str, Any] | None = None,
) -> Model:
    """Loads a model.

    Args:
        weights: `.pth`, `.safetensors` or `.onnx`, or the name of a model that comes with graphkd,
            see `graphkd.shipped.NAMES`; None means "layout".
        config: a run's yaml, for a `.pth` that holds none.
        trust: also unpickle objects other than tensors, which can run any code.
        device: "cpu", "cuda" or "cuda:1"; None means the GPU if there is one (ONNX: the CPU).
        decoding: of text detectors: numbers that take the place of the file's, such as
            {"unclip_scale": 1.1}; the fields of `graphkd.text.decode.MapDecoder`.

    Raises:
        UserError: no such file, another kind of file, a damaged one, no such device, or a file
            that needs packages which are not installed.
    """
    predictor = _load(weights, config=config, trust=trust, device=device)
    predictor.adjust(**(decoding or {}))
    return Model(predictor)


def _load(
    weights: Path | str | None, *, config: Path | str | None, trust: bool, device: str | None
) -> Predictor:
    name = "layout" if weights is None else str(weights)
    if name in shipped.NAMES:
        # On a GPU, onnxruntime needs another package, while torch is installed for training.
        kind = "safetensors" if str(device).startswith("cuda") else "onnx"
        weights = shipped.default_weights(kind, name=name)
    path = Path(weights)
    check_weights(path, config=config)
    if path.suffix == ".onnx":
        from graphkd.predict.onnx_detector import load_onnx

        return load_onnx(path, device=device)
    require_training(f"a {path.suffix} model")
    import torch

    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.device(device)
    except RuntimeError:
        raise UserError(f"--device {device}: name cpu, cuda or cuda:1") from None
    stored = read_model(path, config=config, trust=trust)
    return task_named(stored.header.task).predictor(stored, device=device)


def check_weights(path: Path, *, config: Path | str | None = None) -> None:
    """Checks the paths of a model before anything heavy is loaded.

    Raises:
        UserError: the file or the config does not exist, the file is of another kind, or it needs
            no config.
    """
    if str(path) in shipped.NAMES and config is None:
        return
    if path.suffix not in WEIGHTS:
        names = ", ".join(shipped.NAMES)
        raise UserError(f"{path}: a model is a {', '.join(WEIGHTS)} file, or one of: {names}")
    if not path.is_file():
        raise UserError(f"{path}: no such weights file")
    if config is not None and path.suffix == ".onnx":
        raise UserError(f"{path}: an ONNX file has its config inside; leave --config out")
    if config is not None and not Path(config).is_file():
        raise UserError(f"{config}: no such config")


def _or_raise(pages: Iterable[RawPage | Failure]) -> Iterator[RawPage]:
    for page in pages:
        if isinstance(page, Failure):
            raise UserError(str(page))
        yield page
