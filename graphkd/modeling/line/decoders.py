"""The encoder over frames and the decoders of line readers: CTC and attention."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class FrameEncoder(nn.Module):
    """Two bidirectional GRU layers over the frames, always in float32.

    Args:
        channels: of the neck.
        hidden: width of each direction.
    """

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.gru = nn.GRU(channels, hidden, num_layers=2, bidirectional=True, batch_first=True)
        self.channels = 2 * hidden

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, 1, T) to (N, T, 2 * hidden)."""
        with torch.autocast(features.device.type, enabled=False):
            frames = features.float().squeeze(2).transpose(1, 2)
            return self.gru(frames.contiguous())[0]


class CTCHead(nn.Module):
    """One linear layer to the classes of every frame; class 0 is the blank."""

    def __init__(self, channels: int, classes: int):
        super().__init__()
        self.linear = nn.Linear(channels, classes)
        nn.init.zeros_(self.linear.bias)  # so that `is_untrained` knows a new head

    def forward(self, frames: Tensor) -> Tensor:
        """(N, T, 2 * hidden) to logits (N, T, C), float32."""
        with torch.autocast(frames.device.type, enabled=False):
            return self.linear(frames.float())

    def by_class(self) -> dict[str, int]:
        """Names of the parameters with an entry a class -> the dimension of the classes."""
        return {"linear.weight": 0, "linear.bias": 0}


class AttentionHead(nn.Module):
    """Writes one character a step, with additive attention over the frames.

    Classes are those of the charset, class 0 being the start in place of the blank, and the end as
    the last one.

    Source: Bahdanau et al., Neural Machine Translation by Jointly Learning to Align and Translate
    (2015), as a GRU cell on the context and the last character.
    """

    def __init__(self, channels: int, classes: int, *, hidden: int, max_steps: int):
        """`hidden` is the width of the cell; at most `max_steps` characters are written."""
        super().__init__()
        self.keys = nn.Linear(channels, hidden, bias=False)
        self.query = nn.Linear(hidden, hidden)
        self.score = nn.Linear(hidden, 1, bias=False)
        self.cell = nn.GRUCell(channels + classes, hidden)
        self.linear = nn.Linear(hidden, classes)
        for layer in (self.query, self.linear):
            nn.init.zeros_(layer.bias)  # so that `is_untrained` knows a new head
        self.classes, self.max_steps = classes, max_steps

    @property
    def end(self) -> int:
        """The class that ends a text."""
        return self.classes - 1

    def by_class(self) -> dict[str, int]:
        """As that of `CTCHead`; the characters are the last inputs of the cell."""
        return {"linear.weight": 0, "linear.bias": 0, "cell.weight_ih": 1}

    def begin(self, frames: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """What all steps share: keys (N, T, hidden), and (N, T), -inf on frames to leave out."""
        bias = torch.zeros(valid.shape, device=frames.device)
        return self.keys(frames), bias.masked_fill(~valid, float("-inf"))

    def step(
        self, frames: Tensor, shared: tuple[Tensor, Tensor], state: Tensor, last: Tensor
    ) -> tuple[Tensor, Tensor]:
        """One step.

        Args:
            frames: (N, T, C) of the encoder.
            shared: from `begin`.
            state: (N, hidden) of the step before, zeros at first.
            last: (N,) class of the step before, 0 at first.

        Returns:
            Logits (N, classes) and the new state.
        """
        keys, bias = shared
        scores = self.score(torch.tanh(keys + self.query(state)[:, None])).squeeze(2) + bias
        context = torch.einsum("nt,ntc->nc", scores.softmax(1), frames)
        one_hot = F.one_hot(last, self.classes).to(context)
        state = self.cell(torch.cat([context, one_hot], 1), state)
        return self.linear(state), state

    def forward(self, frames: Tensor, valid: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits (N, S, classes) of all steps, float32.

        Args:
            frames: (N, T, C) of the encoder.
            valid: (N, T) bool, frames that may be looked at; at least one a line.
            labels: (N, S - 1) classes that are written; None writes the best class of each step
                until all lines have ended.
        """
        with torch.autocast(frames.device.type, enabled=False):
            frames = frames.float()
            shared = self.begin(frames, valid)
            state = frames.new_zeros(len(frames), self.cell.hidden_size)
            last = torch.zeros(len(frames), dtype=torch.int64, device=frames.device)
            ended, rows = torch.zeros_like(last, dtype=torch.bool), []
            steps = self.max_steps if labels is None else labels.shape[1] + 1
            for number in range(steps):
                logits, state = self.step(frames, shared, state, last)
                rows.append(logits)
                if labels is not None:
                    last = labels[:, number] if number < labels.shape[1] else last
                    continue
                last = logits.argmax(1)
                ended |= last == self.end
                if ended.all():
                    break
            return torch.stack(rows, 1)


def ctc_losses(
    logits: Tensor, lengths: Tensor, labels: Sequence[Sequence[int]], *, by_symbol: bool
) -> Tensor:
    """-log p(label) of every line, (N,) float32; 0 where a label does not fit its frames.

    Args:
        logits: (N, T, C), class 0 is the blank.
        lengths: (N,) valid frames.
        labels: classes of every line.
        by_symbol: divide by the number of characters.
    """
    with torch.autocast(logits.device.type, enabled=False):
        counts = torch.tensor([len(label) for label in labels])
        losses = F.ctc_loss(
            logits.float().log_softmax(2).transpose(0, 1),
            torch.tensor([number for label in labels for number in label], device=logits.device),
            lengths.cpu(),
            counts,
            reduction="none",
            zero_infinity=True,
        )
        return losses / counts.to(losses).clamp(min=1) if by_symbol else losses


def step_losses(
    logits: Tensor, labels: Sequence[Sequence[int]], *, end: int, by_symbol: bool
) -> Tensor:
    """-log p(label and end) of every line, (N,) float32.

    Args:
        logits: (N, S, C) with S steps or more than the longest label has characters.
        labels: classes of every line.
        end: the class that ends a text.
        by_symbol: divide by the number of steps.
    """
    rows = [[*label, end] for label in labels]
    truth = padded(rows, fill=-1, device=logits.device)
    losses = F.cross_entropy(
        logits.float().transpose(1, 2), truth, ignore_index=-1, reduction="none"
    ).sum(1)
    counts = torch.tensor([len(row) for row in rows], device=logits.device)
    return losses / counts if by_symbol else losses


def padded(rows: Sequence[Sequence[int]], *, fill: int, device: torch.device) -> Tensor:
    """Rows of different lengths as one (N, L) int64 tensor."""
    length = max(map(len, rows))
    return torch.tensor([[*row, *[fill] * (length - len(row))] for row in rows], device=device)
