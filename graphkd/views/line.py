"""The view of readers of single lines: CRNN, RARE and STAR."""

from collections.abc import Sequence

import torch
from torch import Tensor

from graphkd.distill.outputs import Outputs, Targets
from graphkd.distill.outputs import Sequence as Frames
from graphkd.distill.taps import record
from graphkd.modeling.line.decoders import padded
from graphkd.text.prepare import STRIDE
from graphkd.views.view import View, view_for


@view_for("CRNN", "RARE", "STAR")
class LineView(View):
    """`neck`, the last map before the frames, p3 to p5 of a pyramid, and frames or steps.

    Strides are horizontal pixels a cell. The steps of an attention decoder, also of a teacher,
    follow the text of the batch: those of two models are comparable after equal characters only.
    """

    targets = frozenset({"texts"})

    @property
    def provides(self) -> frozenset[str]:
        return frozenset({"features", "steps" if self.model.attention else "frames"})

    @property
    def num_classes(self) -> int:
        return self.model.charset.size - 1

    @property
    def levels(self) -> tuple[str, ...]:
        return tuple(name for name in self.model.neck.channels if name != "neck")

    @property
    def channels(self) -> dict[str, int]:
        return dict(self.model.neck.channels)

    @property
    def strides(self) -> dict[str, int]:
        return {name: STRIDE if name == "neck" else STRIDE // 2 for name in self.channels}

    def step(self, batch: list[dict]) -> tuple[dict[str, Tensor], Outputs, Targets]:
        model = self.model
        with record({"neck": model.neck, "decoder": model.decoder}) as tape:
            losses = model(batch)
        logits = tape["decoder"].output
        texts = tuple(item["text"] for item in batch)
        if model.attention:
            lengths = [len(model.charset.encode(text)) + 1 for text in texts]
            said = {"steps": Frames(logits, torch.tensor(lengths, device=logits.device))}
        else:
            widths = torch.tensor([item["line_width"] for item in batch], device=logits.device)
            said = {"frames": Frames(logits, model.lengths(widths, logits.shape[1]))}
        outputs = Outputs(features=tape["neck"].output, **said)
        sizes = tuple(tuple(item["image"].shape[-2:]) for item in batch)
        targets = Targets(
            image_sizes=sizes,
            strides=self.strides,
            num_classes=logits.shape[2],
            texts=texts,
        )
        return losses, outputs, targets

    def observe(
        self, batch: list[dict], boxes: Sequence[Tensor] | None, needs: frozenset[str]
    ) -> Outputs:
        model = self.model
        if not needs:  # a method without a teacher, in a config that names one
            return Outputs()
        images, widths = model.pixels(batch)
        features = model.features(images, widths)
        said = {}
        if needs & {"frames", "steps"}:
            said = self._decoded(features, widths, batch)
        return Outputs(features=features if "features" in needs else {}, **said)

    def _decoded(self, features: dict[str, Tensor], widths: Tensor, batch: list[dict]) -> dict:
        model = self.model
        if not model.attention:
            return {"frames": Frames(*model.decode(features, widths))}
        labels = [model.charset.encode(item["text"]) for item in batch]
        given = padded(labels, fill=0, device=model.device)
        logits, _ = model.decode(features, widths, given)
        lengths = torch.tensor([len(label) + 1 for label in labels], device=logits.device)
        return {"steps": Frames(logits, lengths)}
