"""Forward hooks that record the inputs and outputs of named modules for the length of a block."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import nn


@dataclass(frozen=True)
class Call:
    """One call of a module: its positional arguments and what it returned."""

    args: tuple[Any, ...]
    output: Any


class TapError(RuntimeError):
    """A recorded module was not called exactly once, so it is unclear which call is meant."""


@dataclass
class Tape:
    """The recorded calls by name; `tape[name]` is the single call of that module."""

    calls: dict[str, list[Call]] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Call:
        """Returns the single call of `name`.

        Raises:
            TapError: the module ran not at all or more than once.
        """
        calls = self.calls[name]
        if len(calls) != 1:
            raise TapError(
                f"{name} ran {len(calls)} times in one training step, distillation needs exactly "
                "one (cascade heads, activation checkpointing and test-time augmentation call "
                "modules several times)"
            )
        return calls[0]


@contextmanager
def record(modules: Mapping[str, nn.Module]) -> Iterator[Tape]:
    """Records every call of `modules` while the block runs.

    The hooks do not change arguments or outputs, so losses stay bit-identical. They are removed
    after the block, also if it raises.

    Args:
        modules: name -> module; the names appear in errors.

    Yields:
        A `Tape`. The end of the block checks that every module was called exactly once.

    Raises:
        TapError: at the end of the block, if a module was not called exactly once.
    """
    tape = Tape({name: [] for name in modules})
    handles = []
    try:
        for name, module in modules.items():
            handles.append(module.register_forward_hook(_recorder(tape.calls[name])))
        yield tape
    finally:
        for handle in handles:
            handle.remove()
    for name in modules:
        tape[name]


def _recorder(calls: list[Call]):
    def hook(module: nn.Module, args: tuple, output: Any) -> None:
        calls.append(Call(args=args, output=output))

    return hook
