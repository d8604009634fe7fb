"""Finds steps that are not finite, and keeps their batch in a file to replay them."""

from collections.abc import Mapping
from pathlib import Path

import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor, nn

from graphkd.errors import UserError
from graphkd.modelfile import load_pickle

# What a batch file may hold of an item.
_PLAIN = (Tensor, str, int, float)


class DivergedError(UserError):
    """A loss became NaN or infinite; the message names the step, the term and the pages."""


def step_problem(
    losses: Mapping[str, Tensor], model: nn.Module, *, gradients: bool = True
) -> str | None:
    """What is NaN or infinite after a backward pass, as part of a sentence; None for nothing.

    All losses and gradients are reduced to one number first, so a GPU is waited for once.

    Args:
        losses: scalar terms.
        model: its parameters have their gradients.
        gradients: False looks at the losses alone; float16 gradients are still scaled and may
            overflow.
    """
    named = [(name, p.grad) for name, p in model.named_parameters() if p.grad is not None]
    total = sum(losses.values()).detach().float().reshape(1)
    peaks = total
    if gradients and named:
        # The largest entry is NaN or infinite where any entry is; the sum of squares may overflow.
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

    The file holds tensors and plain values alone, so that `torch.load(weights_only=True)` reads it.
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
    """A written batch as a model takes it, and the random state before its step.

    Raises:
        UserError: no such batch file, or a damaged one.
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
