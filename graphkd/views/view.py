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
    """Reads the outputs of one unmodified model, in a training step or on given images.

    A view has no parameters and does not change its model.

    Attributes:
        model: the model.
        provides: parts of `Outputs` that `step` and `observe` can return, see `losses.base.NEEDS`.
        targets: parts of `Targets` that `step` fills, see `losses.base.READS`.
        two_stage: whether the detector has a box head on RoI features; None if the model is not a
            detector.
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
        """Runs the model's own training forward pass.

        Args:
            batch: mapped items with their targets.

        Returns:
            The model's loss dict (bit-identical to a step without a view), its outputs, and the
            targets.
        """

    @abstractmethod
    def observe(
        self, batch: list[dict], boxes: Sequence[Tensor] | None, needs: frozenset[str]
    ) -> Outputs:
        """Computes only the parts of the outputs in `needs`; the model's mode does not change.

        Args:
            batch: items with `image`; ground truth is not read.
            boxes: per image (R_i, 4) in pixels of this model's input; None if no loss reads
                regions.
            needs: parts of `Outputs`, see `losses.base.NEEDS`; the other parts are None.
        """

    @property
    @abstractmethod
    def num_classes(self) -> int:
        """K, without background and without the symbols of a decoder such as blank."""

    @property
    def levels(self) -> tuple[str, ...]:
        """Names of the pyramid levels, fine to coarse; empty for a model without a pyramid."""
        return ()

    @property
    def channels(self) -> dict[str, int]:
        """Number of channels by name of level or stage."""
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
    def encode(self) -> Callable[[str], list[int]] | None:
        """Text to class numbers of the model's head; None for a model without a charset."""
        charset = getattr(self.model, "charset", None)
        return None if charset is None else charset.encode

    @property
    def region_size(self) -> tuple[int, int] | None:
        """(height, width) of pooled region features; None if the model is not a detector."""
        return None

    @property
    def anchors(self) -> dict[str, tuple]:
        """By level, everything that determines its anchors and how deltas move them. If two
        detectors have equal values on a level, its anchors correspond one to one.
        """
        return {}

    @property
    def box_codes(self) -> tuple | None:
        """Everything that determines how the head's deltas become boxes. If two detectors have
        equal values, equal deltas mean equal boxes. None if the model is not a detector.
        """
        return None

    @property
    def bins(self) -> int | None:
        """Largest bin of the distributions of box edges; None without such distributions."""
        return None
