"""CRNN, RARE and STAR, readers of single lines, and the node MODEL.READER."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor, nn

from graphkd.errors import UserError
from graphkd.modeling.line.bodies import BodyOptions, line_body
from graphkd.modeling.line.decoders import (
    AttentionHead,
    CTCHead,
    FrameEncoder,
    ctc_losses,
    padded,
    step_losses,
)
from graphkd.modeling.line.layers import SIGMOID_SLOPE
from graphkd.modeling.line.necks import line_neck
from graphkd.modeling.line.rectifier import ThinPlateSpline
from graphkd.text.charset import Charset
from graphkd.text.ctc import read_frames, read_steps
from graphkd.text.prepare import STRIDE


def add_reader_config(cfg: CfgNode) -> None:
    """Adds MODEL.READER with its defaults to `cfg`."""
    cfg.MODEL.READER = node = CfgNode()
    # mobilenet_v3_small, mobilenet_v3_large, resnet18 or resnet18_se; WIDTH is for MobileNetV3.
    node.BODY = "mobilenet_v3_small"
    node.WIDTH = 1.0
    # Channels of a pruned body; empty for the original ones (see BodyOptions).
    node.STEM = []
    node.STAGES = []
    node.INNER = []
    # none, or a pyramid: A, B, C or D; the pool before the frames: max or blur.
    node.NECK = "none"
    node.POOL = "max"
    # se, ca or none; the slope of the hard sigmoid of se.
    node.ATTENTION = "se"
    node.SE_SLOPE = SIGMOID_SLOPE
    # Meta-ACON in place of every activation, or of those in blocks that keep the height.
    node.ACON = False
    node.ACON_SKIPS_STRIDES = False
    # Width of each direction of the GRU.
    node.HIDDEN = 48
    # RARE: width of the decoder's cell, most characters that it writes, and whether a thin plate
    # spline straightens the line before.
    node.DECODER_HIDDEN = 32
    node.MAX_STEPS = 26
    node.RECTIFY = False
    # The charset: a file; or the characters themselves, which a run writes into its config. If both
    # are empty, the charset of the first training set, or all characters of the training texts.
    node.CHARSET = ""
    node.CHARACTERS = []
    # What becomes of MODEL.WEIGHTS with another charset: "" refuses them, new keeps this charset,
    # union adds what it lacks to theirs. Rows of characters that both have are carried over.
    node.CHARSET_RESIZE = ""
    # Frames that count for a line: its own (valid) or all of its bucket (padded).
    node.LENGTHS = "valid"
    # Loss of a line: the sum over its frames (line), or that divided by its characters (symbol).
    # Weights of distillation are relative to it.
    node.REDUCTION = "line"
    # Peculiarities of released models.
    node.COMPAT = CfgNode()
    node.COMPAT.NO_FIRST_SHORTCUT = False
    node.COMPAT.DEAD_BLOCKS = False
    node.COMPAT.TPS_LINEAR = False
    node.COMPAT.DUPLICATE_SPACE = False


def charset_of_cfg(cfg: CfgNode) -> Charset:
    """The charset of a config whose MODEL.READER.CHARACTERS are set."""
    return Charset.from_names(cfg.MODEL.READER.CHARACTERS)


class LineRecognizer(nn.Module):
    """A rectifier, a body, a neck, an encoder over frames, and a decoder.

    Attributes:
        rectifier: images -> images of the same size; None without one.
        body: images -> {c3, c4, c5}.
        neck: those -> {neck (N, C, 1, T), perhaps p3, p4, p5}.
        encoder: `neck` -> (N, T, 2 * hidden).
        decoder: frames -> logits, a `CTCHead` or an `AttentionHead`.
        charset: what it can write.
        height: pixels of the lines that it reads.
    """

    # What the kinds of readers accept: with and without a rectifier.
    rectifiers: tuple[bool, ...] = (False,)
    attention = False

    @configurable
    def __init__(
        self,
        *,
        rectifier: nn.Module | None,
        body: nn.Module,
        neck: nn.Module,
        encoder: nn.Module,
        decoder: nn.Module,
        charset: Charset,
        height: int,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        padded_lengths: bool,
        by_symbol: bool,
    ):
        """Takes the parts; `from_config` says which key each is."""
        super().__init__()
        self.rectifier, self.body, self.neck = rectifier, body, neck
        self.encoder, self.decoder, self.charset = encoder, decoder, charset
        self.height, self.padded_lengths, self.by_symbol = height, padded_lengths, by_symbol
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), False)
        for part in (rectifier, body, neck):
            if part is not None:
                _initialise(part)
        if rectifier is not None:
            rectifier.start()

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """The arguments for a config.

        Raises:
            UserError: a key of MODEL.READER has a value that has no meaning.
        """
        node = cfg.MODEL.READER
        charset = charset_of_cfg(cfg)
        _check(node, charset, cls)
        body = line_body(
            node.BODY,
            BodyOptions(
                neck=node.NECK,
                width=node.WIDTH,
                attention=node.ATTENTION,
                acon=node.ACON,
                acon_skips_strides=node.ACON_SKIPS_STRIDES,
                slope=node.SE_SLOPE,
                stem=node.STEM,
                stages=node.STAGES,
                inner=node.INNER,
                first_shortcut=not node.COMPAT.NO_FIRST_SHORTCUT,
                dead_blocks=node.COMPAT.DEAD_BLOCKS,
            ),
        )
        neck = line_neck(node.NECK, body, pool=node.POOL)
        encoder = FrameEncoder(neck.channels["neck"], node.HIDDEN)
        if cls.attention:
            decoder = AttentionHead(
                encoder.channels,
                charset.size + 1,
                hidden=node.DECODER_HIDDEN,
                max_steps=node.MAX_STEPS,
            )
        else:
            decoder = CTCHead(encoder.channels, charset.size)
        rectify = node.RECTIFY or False not in cls.rectifiers
        return {
            "rectifier": ThinPlateSpline(linear=node.COMPAT.TPS_LINEAR) if rectify else None,
            "body": body,
            "neck": neck,
            "encoder": encoder,
            "decoder": decoder,
            "charset": charset,
            "height": cfg.INPUT.CROPS.HEIGHT,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "padded_lengths": node.LENGTHS == "padded",
            "by_symbol": node.REDUCTION == "symbol",
        }

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.pixel_mean.device

    def pixels(self, batch: Sequence[Mapping[str, Any]]) -> tuple[Tensor, Tensor]:
        """The images of a batch of one width as one tensor, and their valid columns.

        Raises:
            UserError: the lines have another height, as those of a student may have for its
                teacher.
        """
        images = torch.stack([item["image"] for item in batch]).to(self.device)
        if images.shape[-2] != self.height:
            raise UserError(
                f"lines are {images.shape[-2]} pixels high, but the reader was trained on "
                f"{self.height}; use the same INPUT.CROPS.HEIGHT"
            )
        widths = [item["line_width"] for item in batch]
        return images, torch.tensor(widths, device=self.device)

    def features(self, images: Tensor, widths: Tensor) -> dict[str, Tensor]:
        """The maps of the neck.

        Args:
            images: (N, 3, H, W) values 0..255 in the channel order of the config; W is a multiple
                of 4.
            widths: (N,) int64 valid columns; what is right of them has no influence.
        """
        normalised = (images - self.pixel_mean) / self.pixel_std
        columns = torch.arange(images.shape[-1], device=images.device)
        valid = columns < widths[:, None]
        pixels = normalised * valid[:, None, None]
        if self.rectifier is not None:
            pixels = self.rectifier(pixels)
        return self.neck(self.body(pixels))

    def lengths(self, widths: Tensor, frames: int) -> Tensor:
        """Number of valid frames (N,) of lines of some widths, of `frames` at most."""
        if self.padded_lengths:
            return torch.full_like(widths, frames)
        return torch.div(widths + STRIDE - 1, STRIDE, rounding_mode="floor").clamp(1, frames)

    def decode(
        self, features: Mapping[str, Tensor], widths: Tensor, labels: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Logits (N, T, C), float32, and the number of valid frames (N,), of maps of the neck.

        Of an attention decoder these are logits of steps, which follow `labels` (N, L) if given.
        """
        frames = self.encoder(features["neck"])
        lengths = self.lengths(widths, frames.shape[1])
        if not self.attention:
            return self.decoder(frames), lengths
        valid = torch.arange(frames.shape[1], device=lengths.device) < lengths[:, None]
        return self.decoder(frames, valid, labels), lengths

    def frames(self, images: Tensor, widths: Tensor) -> tuple[Tensor, Tensor]:
        """`decode` of `features`, with the arguments of the latter."""
        return self.decode(self.features(images, widths), widths)

    def forward(self, batch: Sequence[Mapping[str, Any]]) -> Any:
        """In training a dict of losses, else a dict a line with `text` and `score` in 0..1.

        Args:
            batch: items with `image` (3, H, W) uint8, `line_width`, and in training `text`. In
                training all have one width; else lines of a width are run together.
        """
        if self.training:
            return self._losses(batch)
        found: list[Any] = [None] * len(batch)
        for rows in _by_width(batch):
            for row, said in zip(rows, self._read([batch[row] for row in rows]), strict=True):
                found[row] = said
        return found

    def _losses(self, batch: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        labels = [self.charset.encode(item["text"]) for item in batch]
        images, widths = self.pixels(batch)
        features = self.features(images, widths)
        if self.attention:
            given = padded(labels, fill=0, device=self.device)
            logits, _ = self.decode(features, widths, given)
            end = self.decoder.end
            losses = step_losses(logits, labels, end=end, by_symbol=self.by_symbol)
            return {"loss_attention": losses.mean()}
        logits, lengths = self.decode(features, widths)
        losses = ctc_losses(logits, lengths, labels, by_symbol=self.by_symbol)
        return {"loss_ctc": losses.mean()}

    def _read(self, batch: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        logits, lengths = self.frames(*self.pixels(batch))
        scores, best = (each.cpu().numpy() for each in logits.detach().softmax(2).max(2))
        if self.attention:
            written = ((best == self.decoder.end).cumsum(1) == 0).sum(1)
            lines = read_steps(best, scores, written, self.charset)
        else:
            lines = read_frames(best, scores, lengths.cpu().numpy(), self.charset)
        return [{"text": text, "score": score} for text, score in lines]


@META_ARCH_REGISTRY.register()
class CRNN(LineRecognizer):
    """Frames and CTC.

    Source: Shi et al., An End-to-End Trainable Neural Network for Image-Based Sequence Recognition
    (2015); bodies and necks of lightweight-OCR.
    """


@META_ARCH_REGISTRY.register()
class RARE(LineRecognizer):
    """Attention over frames, with a rectifier if MODEL.READER.RECTIFY.

    Source: Shi et al., Robust Scene Text Recognition with Automatic Rectification (2016).
    """

    rectifiers = (False, True)
    attention = True


@META_ARCH_REGISTRY.register()
class STAR(LineRecognizer):
    """A rectifier before frames and CTC.

    Source: Liu et al., STAR-Net: A SpaTial Attention Residue Network for Scene Text Recognition
    (2016), as released with CTC.
    """

    rectifiers = (True,)


def _check(node: CfgNode, charset: Charset, kind: type[LineRecognizer]) -> None:
    for key, known in (("LENGTHS", ("valid", "padded")), ("REDUCTION", ("line", "symbol"))):
        if node[key] not in known:
            raise UserError(f"MODEL.READER.{key} is {node[key]}; choose one of {', '.join(known)}")
    if not charset.entries:
        raise UserError(
            "MODEL.READER.CHARSET names no charset; `graphkd data charset` makes one from labels"
        )
    if node.RECTIFY and True not in kind.rectifiers:
        raise UserError(
            f"MODEL.READER.RECTIFY: {kind.__name__} has no rectifier; use STAR, or RARE"
        )
    for key in ("HIDDEN", "DECODER_HIDDEN", "MAX_STEPS"):
        if node[key] < 1:
            raise UserError(f"MODEL.READER.{key} is {node[key]}; it must be 1 or more")


def _by_width(batch: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    """Numbers of the items of each width."""
    groups: dict[int, list[int]] = {}
    for row, item in enumerate(batch):
        groups.setdefault(item["image"].shape[-1], []).append(row)
    return list(groups.values())


def _initialise(part: nn.Module) -> None:
    """Kaiming's initialisation for convolutions; zeros for their biases."""
    for layer in part.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
