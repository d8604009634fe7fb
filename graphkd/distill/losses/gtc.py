"""The `gtc` method: an attention head on the neck of a CTC reader, in training only. No teacher."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graphkd.distill.losses.base import DistillLoss, LossContext
from graphkd.distill.losses.build import register
from graphkd.distill.losses.frames import kept_frames, labels_of, need_frames
from graphkd.distill.losses.functional import mean_over_images
from graphkd.distill.losses.options import whole_number
from graphkd.distill.outputs import Outputs, Targets

HEADS = 4


def positions(count: int, width: int, *, device: torch.device) -> Tensor:
    """Sines and cosines that number places, (count, width), as in Attention Is All You Need."""
    place = torch.arange(count, device=device)[:, None]
    rates = torch.exp(torch.arange(0, width, 2, device=device) * (-math.log(1e4) / width))
    return torch.stack([(place * rates).sin(), (place * rates).cos()], -1).flatten(1)


class GuideHead(nn.Module):
    """One transformer decoder layer that writes the text character by character.

    It has no dropout, so that a run with it draws the same random numbers as one without.

    Args:
        channels: width of the neck.
        classes: of its outputs: 0 is start and end of a text, the others are characters.
        width: its own width, a multiple of 4.
    """

    def __init__(self, channels: int, classes: int, width: int):
        super().__init__()
        self.enter = nn.Linear(channels, width)
        self.embed = nn.Embedding(classes, width)
        self.layer = nn.TransformerDecoderLayer(
            width, HEADS, dim_feedforward=2 * width, dropout=0.0, batch_first=True
        )
        self.leave = nn.Linear(width, classes)

    def forward(self, neck: Tensor, kept: Tensor, before: Tensor) -> Tensor:
        """Logits (N, S, classes) of the next character after each of `before`.

        Args:
            neck: (N, C, 1, T).
            kept: (N, T) bool, cells that may be looked at.
            before: (N, S) the true classes, shifted by one step.
        """
        memory = self.enter(neck.mean(2).transpose(1, 2))
        width, steps = memory.shape[2], before.shape[1]
        memory = memory + positions(memory.shape[1], width, device=memory.device)
        texts = self.embed(before) + positions(steps, width, device=memory.device)
        later = torch.ones(steps, steps, dtype=torch.bool, device=memory.device).triu(1)
        return self.leave(self.layer(texts, memory, tgt_mask=later, memory_key_padding_mask=~kept))


@register("gtc")
class GTC(DistillLoss):
    """Cross entropy of an attention head on the student's neck, which trains the body beside CTC.

    The head is saved with the losses, never in the student.

    Source: Hu et al., GTC: Guided Training of CTC. Differs from it: one transformer layer in the
    place of its attention decoder, no graph convolution, and the gradient of both heads reaches the
    body, as in PaddleOCR.
    """

    needs = frozenset({"features", "frames"})
    reads = frozenset({"texts"})
    needs_teacher = False

    def __init__(self, context: LossContext, *, width: int = 128):
        """Makes the head.

        Args:
            context: facts about the student.
            width: of the head, a multiple of 4.
        """
        super().__init__()
        need_frames(context)
        if "neck" not in context.channels:
            raise ValueError("needs the neck of a reader of text lines")
        if whole_number("width", width, least=HEADS) % HEADS:
            raise ValueError(f"WIDTH must be a multiple of {HEADS}, not {width}")
        self.encode = context.encode
        self.head = GuideHead(context.channels["neck"][0], context.num_classes + 1, width)

    def forward(self, student: Outputs, teacher: None, targets: Targets) -> dict[str, Tensor]:
        """Returns `attention`, a mean over the characters of a line and its end, then lines."""
        neck = student.features["neck"].float()
        labels = labels_of(targets.texts, self.encode, device=neck.device)
        before = F.pad(labels.classes, (1, 0))
        after = F.pad(labels.classes, (0, 1))
        logits = self.head(neck, kept_frames(student.frames), before)
        # A text of L characters has L + 1 steps; the last one writes its end.
        steps = torch.arange(after.shape[1], device=neck.device) <= labels.lengths[:, None]
        values = F.cross_entropy(logits.float()[steps], after[steps], reduction="none")
        counts = tuple((labels.lengths + 1).tolist())
        self.log = {"accuracy": (logits.argmax(-1) == after)[steps].float().mean()}
        return {"attention": mean_over_images(values, counts)}
