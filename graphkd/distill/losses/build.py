"""The registry of distillation losses, and building them from a yaml."""

import importlib
import inspect
import math
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from detectron2.utils.registry import Registry

from graphkd.distill.losses.base import NEEDS, READS, DistillLoss, LossContext
from graphkd.errors import UserError

LOSSES = Registry("DISTILL_LOSS")
LOSSES.__doc__ = (
    "Distillation methods by the name used under DISTILL.LOSSES; called as f(context, **options)."
)

DEFAULT_WEIGHT = 1.0


@dataclass(frozen=True)
class ScheduledLoss:
    """A built loss with its weight in the total loss.

    Attributes:
        module: the loss.
        weight: factor of all its terms at the end of the ramp.
        ramp: number of iterations over which the factor grows linearly from 0; 0 for no ramp.
    """

    module: DistillLoss
    weight: float
    ramp: int

    def factor(self, iteration: int) -> float:
        """The factor at `iteration` (counted from 0): `weight * min(1, (iteration + 1) / ramp)`."""
        return self.weight * (min(1.0, (iteration + 1) / self.ramp) if self.ramp else 1.0)


def register(name: str) -> Callable[[type[DistillLoss]], type[DistillLoss]]:
    """Class decorator that registers a loss as `name`, its key below `DISTILL.LOSSES`.

    Raises:
        AssertionError: the name is already registered.
    """

    def decorate(cls: type[DistillLoss]) -> type[DistillLoss]:
        # Registry.register would use the class name, but yaml keys are not CamelCase.
        LOSSES._do_register(name, cls)
        return cls

    return decorate


def import_methods() -> None:
    """Imports every module of this folder, so that each method registers itself."""
    import graphkd.distill.losses as package

    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")


def needs_teacher(names: Iterable[str]) -> bool:
    """Whether one of the methods reads the outputs of a teacher; unknown names count as such."""
    import_methods()
    known = (LOSSES.get(name) if name in LOSSES else DistillLoss for name in names)
    return any(cls.needs_teacher for cls in known)


def build_losses(
    losses_cfg, context: LossContext, *, source: str, ramp: int = 0
) -> dict[str, ScheduledLoss]:
    """Builds every loss of the yaml node `DISTILL.LOSSES`, in the order of the yaml.

    Args:
        losses_cfg: mapping of method name to its options in upper case; `WEIGHT` (default 1)
            belongs to every method.
        context: facts about the pair.
        source: name of the config file, for error messages.
        ramp: number of iterations over which all weights grow from 0; 0 for no ramp.

    Raises:
        UserError: a method or key is unknown, an option has a wrong value, or the pair of models
            lacks something that the method needs.
    """
    import_methods()
    if ramp < 0:
        raise UserError(f"{source}: DISTILL.RAMP is {ramp}; give iterations, 0 for none")
    return {
        name: ScheduledLoss(*_build(name, node, context, source), ramp)
        for name, node in losses_cfg.items()
    }


def _build(name: str, node: object, context: LossContext, source: str) -> tuple[DistillLoss, float]:
    if name not in LOSSES:
        known = ", ".join(sorted(key for key, _ in LOSSES))
        raise UserError(f"{source}: DISTILL.LOSSES.{name} is no method; known: {known}")
    cls = LOSSES.get(name)
    if cls.needs_same_classes and not context.same_classes:
        raise UserError(
            f"{source}: DISTILL.LOSSES.{name} compares class scores, but teacher and student have "
            "different class lists; remove it or train the teacher on the same classes"
        )
    unknown = (set(cls.needs) - set(NEEDS)) | (set(cls.reads) - set(READS))
    assert not unknown, f"{name} reads unknown parts {unknown}"
    if not isinstance(node, Mapping):
        raise UserError(f"{source}: DISTILL.LOSSES.{name} must hold options, {{}} for none")
    options = dict(node)
    weight = options.pop("WEIGHT", DEFAULT_WEIGHT)
    if not _is_number(weight) or not 0 < weight < math.inf:
        raise UserError(
            f"{source}: DISTILL.LOSSES.{name}.WEIGHT is {weight}; give a number above 0, or remove "
            "the method"
        )
    allowed = [key.upper() for key in inspect.signature(cls.__init__).parameters][2:]
    for key in options:
        if key not in allowed:
            known = ", ".join(["WEIGHT", *allowed])
            raise UserError(f"{source}: DISTILL.LOSSES.{name}.{key} is no option; known: {known}")
    try:
        module = cls(context, **{key.lower(): value for key, value in options.items()})
    except (ValueError, TypeError) as error:
        raise UserError(f"{source}: DISTILL.LOSSES.{name}: {error}") from error
    return module, float(weight)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
