"""How text recognisers are exported: signature, header, lines and limits of the comparison."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from graphkd.export.boxes import card_of
from graphkd.export.crop_parity import CropLimits, compare_crops
from graphkd.export.files import Signature
from graphkd.export.job import Comparison, ExportOptions
from graphkd.export.pages import Pages, generated_crops, named_pages
from graphkd.export.parity import open_exported
from graphkd.modelfile import Header, ModelFile, build_detector
from graphkd.predict.crops import FRAMES, INPUTS, OUTPUTS, CropReader
from graphkd.predict.torch_reader import FrameNetwork, torch_reader

BUDGET = 10 * 2**20  # the contest that the published models were made for
_PARITY_SEED, _PARITY_LINES = 108, 200

LIMITS = {
    "exact": CropLimits(exact=0.1, cer=0.02, texts=0.001, score=0.001),
    "half": CropLimits(exact=0.3, cer=0.1, texts=0.01, score=0.05),
    "int8": CropLimits(exact=0.3, cer=0.1, texts=1.0, score=1.0),
}


class CropExporter:
    """The export of one text recogniser; see `graphkd.export.job.Exporter`.

    Args:
        stored: the trained recogniser.
    """

    budget = BUDGET

    def __init__(self, stored: ModelFile):
        self._stored = stored
        self._trained = torch_reader(stored, device="cpu")
        frames = {0: "N", 1: "T"}
        height = self._trained.height
        random = torch.Generator().manual_seed(0)
        lines = torch.randint(0, 256, (2, height, 96, 3), dtype=torch.uint8, generator=random)
        self.signature = Signature(
            inputs=dict(zip(INPUTS, ({0: "N", 2: "W"}, {0: "N"}), strict=True)),
            outputs={**dict(zip(OUTPUTS, (frames, frames, {0: "N"}), strict=True)), FRAMES: frames},
            example=(lines, torch.tensor([96, 61])),
            weights_only=True,
        )

    def header(self, options: ExportOptions) -> Header:
        """The header with the settings of the recogniser."""
        return replace(self._trained.header, card=card_of(self._stored))

    def network(self, *, for_openvino: bool) -> nn.Module:
        """See `Exporter.network`."""
        model = build_detector(self._stored)
        return FrameNetwork(model, flip=self._stored.cfg.INPUT.FORMAT == "BGR").eval()

    def calibration(self, options: ExportOptions, *, progress: bool) -> tuple:
        """Nothing: only weights become eight-bit."""
        return ()

    def samples(self, options: ExportOptions) -> Pages:
        """The lines to compare on."""
        if options.pages is not None:
            return named_pages(options.pages, classes=None, most=options.most)
        characters = self._trained.charset.entries
        return generated_crops(characters=characters, count=_PARITY_LINES, seed=_PARITY_SEED)

    def compare(
        self, path: Path, samples: Pages, options: ExportOptions, *, progress: bool
    ) -> Comparison:
        """Compares a written file with the trained recogniser."""
        names = tuple(self.signature.outputs)
        exported = open_exported(
            path,
            trained=lambda stored: torch_reader(stored, device="cpu"),
            exported=lambda name, header, call: CropReader(
                name, header, lambda *inputs: dict(zip(names, call(*inputs), strict=True))
            ),
        )
        parity = compare_crops(self._trained, exported, samples, progress=progress)
        # A near tie between two characters may fall either way when weights are rounded.
        rounded = options.to == "safetensors" and options.half is not False
        limits = LIMITS["half" if rounded else options.precision]
        return parity.against(limits, tolerance=options.tolerance)
