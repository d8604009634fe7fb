"""What a view of a detector family must offer; no module names of any family."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from graphkd.outputs import Outputs, Targets


class View(ABC):
    """Reads one unmodified Detectron2 model: its training step, or its answers at given boxes.

    Attributes:
        model: the detector; the view owns no parameters and changes nothing of it.
        two_stage: whether the family has a box head on RoI features.
    """

    two_stage: bool

    def __init__(self, model: nn.Module):
        self.model = model

    @abstractmethod
    def step(self, batch: list[dict]) -> tuple[dict[str, Tensor], Outputs, Targets]:
        """Runs one training forward of the untouched model.

        Args:
            batch: Detectron2's mapped data set dicts with `image` (3, H, W) and `instances`.

        Returns:
            The model's own loss dict, bit-identical to an unobserved step, what it said, and what
            the data said.
        """

    @abstractmethod
    def observe(
        self, batch: list[dict], boxes: Sequence[Tensor] | None, needs: frozenset[str]
    ) -> Outputs:
        """Runs just the parts of the model in `needs`, on the same images, in the model's present
        mode.

        Args:
            batch: Detectron2's dicts with `image`; ground truth is not read.
            boxes: per image (R_i, 4) in pixels of this model's input; None where no loss reads
                regions.
            needs: out of `graphkd.losses.base.NEEDS`; parts outside it stay None and are not
                computed.
        """

    @property
    @abstractmethod
    def channels(self) -> int:
        """Width of the FPN levels."""

    @property
    @abstractmethod
    def levels(self) -> tuple[str, ...]:
        """Names of the FPN levels, fine to coarse."""

    @property
    @abstractmethod
    def region_size(self) -> tuple[int, int]:
        """(height, width) of pooled region features."""

    @property
    @abstractmethod
    def num_classes(self) -> int:
        """K, without background."""
