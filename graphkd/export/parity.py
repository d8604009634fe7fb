"""Compares exported models with trained ones: what the comparisons of all tasks share.

`box_parity`, `line_parity` and `crop_parity` add what is measured on boxes, text lines and texts.
"""

import statistics
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from tqdm import tqdm

from graphkd.errors import UserError
from graphkd.export.files import Call, open_openvino, open_torchscript
from graphkd.export.job import Comparison
from graphkd.modelfile import Header, ModelFile, read_model
from graphkd.predict.detector import Predictor, Prepared
from graphkd.predict.onnx_detector import load_onnx

# A number, the greatest value that is allowed, and the beginning of the sentence about it.
Check = tuple[float | None, float, str]


@dataclass(frozen=True, kw_only=True)
class Parity(ABC):
    """A trained model and its export on the same inputs.

    Attributes:
        source: where the inputs come from.
        seconds_trained: median seconds of an input, a rough number; also `seconds_exported`.
        item: what an input is called.
    """

    source: str
    seconds_trained: float
    seconds_exported: float
    item: ClassVar[str] = "page"

    @abstractmethod
    def told(self) -> tuple[str, ...]:
        """The numbers in words, without the time."""

    @abstractmethod
    def checks(self, limits: Any) -> tuple[Check, ...]:
        """The numbers that have a limit."""

    def sentences(self) -> tuple[str, ...]:
        """The numbers in words."""
        return (
            *self.told(),
            f"a {self.item} took {self.seconds_trained * 1000:.1f} ms trained, "
            f"{self.seconds_exported * 1000:.1f} ms exported (rough)",
        )

    def faults(self, limits: Any) -> tuple[str, ...]:
        """Reasons why the file must not be used; empty if there are none."""
        return tuple(
            f"{sentence}; allowed is {limit:g}"
            for value, limit, sentence in self.checks(limits)
            if value is not None and abs(value) > limit
        )

    def against(self, limits: Any, *, tolerance: float | None = None) -> Comparison:
        """The comparison with its limits; `tolerance` replaces the first of them."""
        if tolerance is not None:
            limits = replace(limits, **{fields(limits)[0].name: tolerance})
        return Comparison(asdict(self), asdict(limits), self.sentences(), self.faults(limits))


class Runs(NamedTuple):
    """What both models found on the same inputs.

    Attributes:
        wanted: by input, the result of the trained model; `given`: of the exported one.
        sides: by input, the longer side of the picture in pixels.
        shapes: of the prepared inputs.
        seconds: medians of both, by the names of `Parity`.
    """

    wanted: list
    given: list
    sides: list[int]
    shapes: set
    seconds: dict[str, float]


def run_both(
    trained: Predictor,
    exported: Predictor,
    inputs: Iterable[np.ndarray],
    *,
    source: str,
    same: Callable[[Any, Any], bool],
    prepare: Callable[[Predictor, np.ndarray, int], Prepared] | None = None,
    watch: Callable[[Prepared], None] | None = None,
    progress: bool = True,
) -> Runs:
    """Runs both models on all inputs, and the exported one also on a batch.

    Args:
        trained: the trained model; both have a `detect` whose results have `scores`.
        exported: the file.
        inputs: pictures, (H, W, 3) uint8 RGB each; at least one.
        source: where they come from.
        same: whether two results are equal, for one input alone and in a batch.
        prepare: of a model, a picture and its number, what `detect` takes; by default
            `Predictor.prepare`.
        watch: called with every prepared input, outside of the measured time.
        progress: show a progress bar.

    Raises:
        UserError: the trained model finds nothing at all, or the batch changes the result.
    """
    prepare = prepare or (lambda model, pixels, _: model.prepare(pixels))
    found: tuple[list, list] = [], []
    times: tuple[list, list] = [], []
    sides, shapes, example = [], set(), None
    for number, pixels in enumerate(tqdm(inputs, desc="comparing", disable=not progress)):
        for model, own, seconds in zip((trained, exported), found, times, strict=True):
            start = time.perf_counter()
            prepared = prepare(model, pixels, number)
            own += model.detect([prepared])
            seconds.append(time.perf_counter() - start)
        sides.append(max(pixels.shape[:2]))
        shapes.add(prepared.shape)
        if watch is not None:
            watch(prepared)
        if example is None and len(found[0][-1].scores):
            example = pixels
    if example is None:
        raise UserError(
            f"the model finds nothing on {source}, so nothing can be compared; "
            "use --pages with pages of the kind that it was trained on"
        )
    _check_batch(exported, example, same=same)
    medians = map(statistics.median, times)
    seconds = dict(zip(("seconds_trained", "seconds_exported"), medians, strict=True))
    return Runs(*found, sides, shapes, seconds)


def _check_batch(
    exported: Predictor, pixels: np.ndarray, *, same: Callable[[Any, Any], bool]
) -> None:
    """Checks that an input gives the same result alone and in a batch. The other inputs of the
    batch are the same picture upside down, which looks different to the model.
    """
    turned = np.ascontiguousarray(pixels[::-1, ::-1])
    batch = [exported.prepare(each) for each in (turned, pixels, turned)]
    alone = [exported.detect([each])[0] for each in batch]
    if not all(map(same, alone, exported.detect(batch))):
        raise UserError(
            "the exported file gives another result in a batch than alone, so it was not kept"
        )


def unmatched(
    wanted: Sequence[Any],
    given: Sequence[Any],
    pairs: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    least: float,
) -> float:
    """Share of the results of both, with scores of at least `least`, that have no partner.

    `pairs` holds for each input the partners' places in `wanted` and in `given`.
    """
    lonely = total = 0
    for first, second, partners in zip(wanted, given, pairs, strict=True):
        for found, places in zip((first, second), partners, strict=True):
            counts = found.scores >= least
            total += int(counts.sum())
            lonely += int(counts.sum() - counts[places].sum())
    return lonely / max(total, 1)


def score_sentence(name: str, before: float | None, after: float | None) -> str:
    """A metric of both, or what is missing to measure it."""
    if before is None or after is None:
        return f"{name} not measured: these pages have no ground truth for this model; use --pages"
    return f"{name} {before:.2f} trained, {after:.2f} exported ({after - before:+.3f})"


def open_exported(
    path: Path,
    *,
    trained: Callable[[ModelFile], Predictor],
    exported: Callable[[str, Header, Call], Predictor],
) -> Predictor:
    """Loads an exported file of any format on the CPU.

    Args:
        path: the file.
        trained: makes a model of a safetensors file.
        exported: makes one of a TorchScript or OpenVINO file.

    Raises:
        UserError: another kind of file, a damaged one, or a missing package.
    """
    if path.suffix == ".safetensors":
        return trained(read_model(path))
    if path.suffix == ".onnx":
        return load_onnx(path, device=None)
    return exported(path.name, *(open_torchscript if path.suffix == ".pt" else open_openvino)(path))
