"""How text detectors are exported: networks from resized pages to maps or boxes, header, pages and
limits of the comparison. What resizes pages and makes lines of maps is `graphkd.predict.lines`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from graphkd.export.boxes import SIGNATURE, card_of, without_voting
from graphkd.export.files import Signature
from graphkd.export.job import Comparison, ExportOptions
from graphkd.export.line_parity import LineLimits, compare_lines
from graphkd.export.network import BoxNetwork
from graphkd.export.pages import Pages, generated_pages, named_pages
from graphkd.export.parity import open_exported
from graphkd.modelfile import Header, ModelFile, build_detector
from graphkd.predict.lines import LineDetector
from graphkd.predict.torch_detector import line_settings, torch_lines

_PARITY_SEED, _PARITY_PAGES = 106, 24
_CALIBRATION_SEED, _CALIBRATION_PAGES = 107, 32
_LONG_SIDE = 1280  # of generated pages
_EXAMPLE = torch.randint(
    0, 256, (2, 160, 96, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)
# Sums of levels in DB, and heads of maps: most of the error of eight bits comes from them (on
# real pages 0.02 in probability without them, 0.04 to 0.05 with them).
_EXACT = ("/neck/smooth", "/head/")


LIMITS = {
    "exact": LineLimits(hmean=0.2, map=0.001, line=0.001, unmatched=0.02),
    "half": LineLimits(hmean=1.0, map=0.005, line=0.001, unmatched=0.02),
    "int8": LineLimits(hmean=1.5, map=0.03, line=0.005, unmatched=0.05),
}


class MapNetwork(nn.Module):
    """A trained detector with maps on plain tensors, for any size in multiples of 32.

    Args:
        model: in eval mode on the CPU; its submodules are used, not copied.
        flip: it was trained on BGR.
        outputs: names of its maps, in order.
    """

    def __init__(self, model: nn.Module, *, flip: bool, outputs: Sequence[str]):
        super().__init__()
        self.model, self.flip, self.outputs = model, flip, tuple(outputs)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Raw maps (N, c, h, w) float32 of pages (N, H, W, 3) uint8 RGB."""
        planes = images.permute(0, 3, 1, 2).float()
        planes = planes.flip(1) if self.flip else planes
        maps = self.model.maps((planes - self.model.pixel_mean) / self.model.pixel_std)
        return tuple(maps[name] for name in self.outputs)


class LineExporter:
    """The export of one text detector; see `graphkd.export.job.Exporter`.

    Args:
        stored: the trained detector.
    """

    budget = None

    def __init__(self, stored: ModelFile):
        self._stored = without_voting(stored)
        self._trained = torch_lines(self._stored, device="cpu")
        names = self._trained.outputs
        self._has_maps = "text" in names
        axes = {0: "M"}
        if self._has_maps:
            axes = {0: "N", 2: "h", 3: "w"}
        else:
            names = ("boxes", "scores", "classes", "image_index")
        self.signature = Signature(
            inputs={"images": {0: "N", 1: "H", 2: "W"}},
            outputs={name: axes for name in names},
            example=(_EXAMPLE,),
            exact=_EXACT if self._has_maps else SIGNATURE.exact,
        )

    def header(self, options: ExportOptions) -> Header:
        """The header with test size and decoder, and the `box_thresh` that the options ask for."""
        said = self._trained.header
        shown = self._trained.shown_scores(score=options.score, by_class=options.by_class)
        chosen = {"box_thresh": shown[self._stored.classes[0]]}
        decoder = replace(self._trained.decoder, **chosen)
        return replace(
            said,
            calibration={**said.calibration, **chosen},
            card=card_of(self._stored),
            settings=line_settings(self._stored.cfg, decoder),
        )

    def network(self, *, for_openvino: bool) -> nn.Module:
        """See `Exporter.network`."""
        cfg, model = self._stored.cfg, build_detector(self._stored)
        if self._has_maps:
            flip = cfg.INPUT.FORMAT == "BGR"
            return MapNetwork(model, flip=flip, outputs=self._trained.outputs).eval()
        cfg = cfg.clone()
        cfg.defrost()
        cfg.INPUT.MIN_SIZE_TEST = 0  # pages come resized
        return BoxNetwork(model, cfg, for_openvino=for_openvino).eval()

    def calibration(self, options: ExportOptions, *, progress: bool) -> Iterator[tuple[np.ndarray]]:
        """Prepared pages one by one, each (1, H, W, 3) uint8 RGB."""
        count = _CALIBRATION_PAGES
        pages = self._pages(options.calibrate, count=count, most=count, seed=_CALIBRATION_SEED)
        bar = tqdm(pages, "calibrating", unit="page", total=len(pages), disable=not progress)
        return ((self._trained.prepare(pixels).content[0][None],) for pixels in bar)

    def samples(self, options: ExportOptions) -> Pages:
        """The pages to compare on."""
        return self._pages(options.pages, count=_PARITY_PAGES, most=options.most, seed=_PARITY_SEED)

    def compare(
        self, path: Path, samples: Pages, options: ExportOptions, *, progress: bool
    ) -> Comparison:
        """Compares a written file with the trained detector, maps and lines, at three sizes."""
        names = tuple(self.signature.outputs)
        exported = open_exported(
            path,
            trained=lambda stored: torch_lines(stored, device="cpu"),
            exported=lambda name, header, call: LineDetector(
                name, header, lambda images: dict(zip(names, call(images), strict=True))
            ),
        )
        # What the options changed is no difference of the file.
        self._trained.adjust(box_thresh=exported.decoder.box_thresh)
        parity = compare_lines(self._trained, exported, samples, progress=progress)
        return parity.against(LIMITS[options.precision], tolerance=options.tolerance)

    def _pages(self, name: str | None, *, count: int, most: int, seed: int) -> Pages:
        classes = self._stored.classes
        if name is not None:
            return named_pages(name, classes=classes, most=most)
        return generated_pages(classes=classes, count=count, seed=seed, long_side=_LONG_SIDE)
