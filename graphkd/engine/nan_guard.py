"""Finds steps with a loss or gradient that is not finite, and stores their batch so that the step
can be replayed.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor, nn

from graphkd.errors import UserError
from graphkd.weight_files import load_pickle

# Types of item values that a batch file may hold.
_PLAIN = (Tensor, str, int, float)


class DivergedError(UserError):
    """A loss became NaN or infinite; the message names the step, the term and the pages."""


def step_problem(
    losses: Mapping[str, Tensor], model: nn.Module, *, gradients: bool = True
) -> str | None:
    """Describes what is NaN or infinite after a backward pass; None if everything is finite.

    Losses and gradients are first reduced to one tensor, so a GPU is synchronised only once.

    Args:
        losses: scalar terms.
        model: the model after the backward pass.
        gradients: False checks only the losses. Float16 gradients are still scaled at this point
            and may overflow.
    """
    named = [(name, p.grad) for name, p in model.named_parameters() if p.grad is not None]
    total = sum(losses.values()).detach().float().reshape(1)
    peaks = total
    if gradients and named:
        # The largest entry is NaN or infinite if any entry is. The usual 2-norm would not do: its
        # sum of squares may overflow although every entry is finite.
        norms = torch._foreach_norm([gradient for _, gradient in named], float("inf"))
        peaks = torch.cat([total, torch.stack([norm.float() for norm in norms])])
    good = torch.isfinite(peaks)
    if good.all():
        return None
    if not good[0]:
        terms = [name for name, value in losses.items() if not torch.isfinite(value)]
        return f"{', '.join(terms or ['total_loss'])} is not finite"
    return f"the gradient of {named[int((~good).nonzero()[0]) - 1][0]} is not finite"


def all_finite(model: nn.Module) -> bool:
    """Whether every parameter is finite."""
    return all(bool(torch.isfinite(value).all()) for value in model.parameters())


def page_names(batch: list[dict]) -> list[str]:
    return [str(page.get("file_name", page.get("image_id"))) for page in batch]


def write_batch(path: Path, batch: list[dict], *, step: int, rng: dict) -> None:
    """Writes a mapped batch with its targets and the random state before its step.

    The file holds only tensors and plain values, so `torch.load(weights_only=True)` can read it.
    """
    items = []
    for item, name in zip(batch, page_names(batch), strict=True):
        kept = {key: value for key, value in item.items() if isinstance(value, _PLAIN)}
        if "instances" in item:
            kept["boxes"] = item["instances"].gt_boxes.tensor
            kept["classes"] = item["instances"].gt_classes
        items.append({**kept, "file_name": name})
    torch.save({"step": step, "pages": items, "rng": rng}, path)


def read_batch(path: Path) -> tuple[list[dict], dict]:
    """Reads a batch that `write_batch` wrote, and the random state before its step.

    Raises:
        UserError: the file is missing, damaged, or not such a batch.
    """
    stored = load_pickle(path, trust=False)
    if not isinstance(stored, dict) or not {"step", "pages", "rng"} <= set(stored):
        raise UserError(f"{path}: not a batch that a diverged run left")
    batch = []
    for written in stored["pages"]:
        item = {key: value for key, value in written.items() if key not in ("boxes", "classes")}
        if "boxes" in written:
            instances = Instances(tuple(written["image"].shape[-2:]))
            instances.gt_boxes = Boxes(written["boxes"])
            instances.gt_classes = written["classes"]
            item["instances"] = instances
        batch.append(item)
    return batch, stored["rng"]
