"""How a loss class gets its yaml name; the registry itself is in build.py."""

from collections.abc import Callable

from graphkd.distill.losses.base import DistillLoss
from graphkd.distill.losses.build import LOSSES


def register(name: str) -> Callable[[type[DistillLoss]], type[DistillLoss]]:
    """Class decorator that files a loss under `name`, its key below `DISTILL.LOSSES`.

    Raises:
        AssertionError: the name is taken.
    """

    def decorate(cls: type[DistillLoss]) -> type[DistillLoss]:
        # Registry.register would take the class name, and yaml names are not CamelCase
        LOSSES._do_register(name, cls)
        return cls

    return decorate
