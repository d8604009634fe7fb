"""Text recognisers in `.pth` and `.safetensors` files, and their network on plain tensors."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from graphkd.modelfile import ModelFile, build_detector
from graphkd.predict.crops import FRAMES, OUTPUTS, CropReader, crop_settings
from graphkd.predict.torch_detector import inference


class FrameNetwork(nn.Module):
    """A trained recogniser from pixels to the best class of every frame; exported as it is.

    Attention decoders always run their greatest number of steps here, because an exported graph has
    no loop.

    Args:
        model: a `LineRecognizer` in eval mode. Its submodules are used, not copied, and the cell of
            an attention decoder is replaced.
        flip: it was trained on BGR.
    """

    def __init__(self, model: nn.Module, *, flip: bool):
        super().__init__()
        self.model, self.flip = model, flip
        if model.attention:
            model.decoder.cell = _Cell(model.decoder.cell)

    def forward(self, lines: Tensor, widths: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Reads lines.

        Args:
            lines: (N, h, W, 3) uint8 RGB.
            widths: (N,) int64, valid columns of each.

        Returns:
            best class (N, T) int64, its probability (N, T), number of valid frames (N,) int64, and
            log-probabilities (N, T, C). Of attention decoders, T are steps, and those before the
            end of the text are valid.
        """
        planes = lines.permute(0, 3, 1, 2).float()
        features = self.model.features(planes.flip(1) if self.flip else planes, widths)
        if self.model.attention:
            logits = self._steps(self.model.encoder(features["neck"]), widths)
        else:
            logits, lengths = self.model.decode(features, widths)
        frames = logits.log_softmax(-1)
        score, best = frames.max(-1)
        if self.model.attention:
            lengths = ((best == self.model.decoder.end).long().cumsum(1) == 0).sum(1)
        return best, score.exp(), lengths, frames

    def _steps(self, frames: Tensor, widths: Tensor) -> Tensor:
        """Logits (N, S, C) of the decoder's greatest number of steps."""
        decoder = self.model.decoder
        columns = torch.arange(frames.shape[1], device=frames.device)
        valid = columns < self.model.lengths(widths, frames.shape[1])[:, None]
        shared = decoder.begin(frames, valid)
        state = torch.zeros_like(frames[:, 0, :1]).expand(-1, decoder.cell.hidden_size)
        last, rows = torch.zeros_like(widths), []
        for _ in range(decoder.max_steps):
            logits, state = decoder.step(frames, shared, state, last)
            last = logits.argmax(1)
            rows.append(logits)
        return torch.stack(rows, 1)


class _Cell(nn.Module):
    """A GRU cell in plain operations; PyTorch's own cannot be exported."""

    def __init__(self, cell: nn.GRUCell):
        super().__init__()
        self.cell, self.hidden_size = cell, cell.hidden_size

    def forward(self, inputs: Tensor, state: Tensor) -> Tensor:
        """(N, inputs) and (N, hidden) to the new state (N, hidden)."""
        cell = self.cell
        new = nn.functional.linear(inputs, cell.weight_ih, cell.bias_ih).chunk(3, 1)
        old = nn.functional.linear(state, cell.weight_hh, cell.bias_hh).chunk(3, 1)
        reset, update = torch.sigmoid(new[0] + old[0]), torch.sigmoid(new[1] + old[1])
        fresh = torch.tanh(new[2] + reset * old[2])
        return fresh + update * (state - fresh)


def torch_reader(stored: ModelFile, *, device: str) -> CropReader:
    """The text recogniser of a model file."""
    model = build_detector(stored, device=device)
    network = FrameNetwork(model, flip=stored.cfg.INPUT.FORMAT == "BGR").eval()

    def call(lines: np.ndarray, widths: np.ndarray) -> dict[str, np.ndarray]:
        with inference(model):
            found = network(*(torch.from_numpy(each).to(device) for each in (lines, widths)))
        return {
            name: each.cpu().numpy() for name, each in zip((*OUTPUTS, FRAMES), found, strict=True)
        }

    settings = crop_settings(
        height=stored.cfg.INPUT.CROPS.HEIGHT, decoder="attention" if model.attention else "ctc"
    )
    return CropReader(stored.path.name, replace(stored.header, settings=settings), call)
