"""How a conversion tells how far it is; draws nothing itself."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

# Called with the name of a stage and the number of its items; the block gets a function that takes
# the number of items done since its last call.
Stages = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]


@contextlib.contextmanager
def silent(name: str, total: int) -> Iterator[Callable[[int], None]]:
    """A stage that nobody watches."""
    yield lambda done: None
