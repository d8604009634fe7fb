"""The base class of views, which read a model's outputs without changing it, and their registry."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from torch import Tensor, nn

from graphkd.distill.outputs import Outputs, Targets
from graphkd.errors import UserError

VIEWS: dict[str, type["View"]] = {}


def view_for(*architectures: str) -> Callable[[type["View"]], type["View"]]:
    """Class decorator that registers a view for meta architectures by their class names."""

    def register(view: type["View"]) -> type["View"]:
        VIEWS.update(dict.fromkeys(architectures, view))
        return view

    return register


def view_of(model: nn.Module) -> "View":
    """The view of `model`'s meta architecture.

    Raises:
        UserError: no view is registered for it.
    """
    name = type(model).__name__
    if name not in VIEWS:
        raise UserError(f"no view for {name}; distillation knows {', '.join(VIEWS)}")
    return VIEWS[name](model)


class View(ABC):
    """Reads one unmodified model: its training step, or its answers on given images.

    A view owns no parameters and changes nothing of its model.

    Attributes:
        model: the model.
        provides: parts of `Outputs` that `step` and `observe` can give, out of `losses.base.NEEDS`.
        targets: parts of `Targets` that `step` fills, out of `losses.base.READS`.
        two_stage: whether there is a box head on RoI features; None for no detector.
        wanted: parts of `Outputs` that the losses read; `step` may leave out the others. None for
            all of them. The distiller sets it.
    """

    provides: frozenset[str] = frozenset()
    targets: frozenset[str] = frozenset()
    two_stage: bool | None = None
    wanted: frozenset[str] | None = None

    def __init__(self, model: nn.Module):
        self.model = model

    @abstractmethod
    def step(self, batch: list[dict]) -> tuple[dict[str, Tensor], Outputs, Targets]:
        """Runs one training forward of the untouched model.

        Args:
            batch: mapped items with their targets.

        Returns:
            The model's own loss dict, bit-identical to an unobserved step, what it said, and what
            the annotations said.
        """

    @abstractmethod
    def observe(
        self, batch: list[dict], boxes: Sequence[Tensor] | None, needs: frozenset[str]
    ) -> Outputs:
        """Runs just the parts of the model in `needs`, on the same images, in the model's present
        mode.

        Args:
            batch: items with `image`; ground truth is not read.
            boxes: per image (R_i, 4) in pixels of this model's input; None where no loss reads
                regions.
            needs: out of `losses.base.NEEDS`; other parts stay empty and are not computed.
        """

    @property
    @abstractmethod
    def num_classes(self) -> int:
        """K, without background, blank or other symbols of a decoder."""

    @property
    def levels(self) -> tuple[str, ...]:
        """Names of the pyramid's levels, fine to coarse; empty for a model without a pyramid."""
        return ()

    @property
    def channels(self) -> dict[str, int]:
        """Width by name of level or stage."""
        return {}

    @property
    def strides(self) -> dict[str, int]:
        """Input pixels per cell by name of level or stage."""
        return {}

    @property
    def maps(self) -> dict[str, int]:
        """Input pixels per cell by name of a per-pixel map; empty for a model without maps."""
        return {}

    @property
    def text_loss(self) -> Callable[[Tensor, Tensor, Tensor], Tensor] | None:
        """The model's own loss on its text map, see `LossContext`; None without a text map."""
        return None

    @property
    def region_size(self) -> tuple[int, int] | None:
        """(height, width) of pooled region features; None for no detector."""
        return None

    @property
    def anchors(self) -> dict[str, tuple]:
        """By level, what says where its anchors are and how deltas move them; equal on a level
        where the anchors of two detectors correspond one to one.
        """
        return {}

    @property
    def box_codes(self) -> tuple | None:
        """What says how the head's deltas become boxes; equal where equal deltas mean equal boxes.
        None for no detector.
        """
        return None

    @property
    def bins(self) -> int | None:
        """Largest bin of the box edges' distributions; None without distributions."""
        return None
