import pytest
import torch
from torch import nn

from graphkd.distill.taps import TapError, record


def test_reads_arguments_and_output():
    layer = nn.Linear(2, 3)
    with record({"layer": layer}) as tape:
        output = layer(torch.ones(1, 2))
    assert torch.equal(tape["layer"].output, output)
    assert torch.equal(tape["layer"].args[0], torch.ones(1, 2))


@pytest.mark.parametrize("calls", [0, 2])
def test_names_a_module_not_called_once(calls):
    layer = nn.Linear(2, 3)
    with pytest.raises(TapError, match=f"head ran {calls} times"):
        with record({"head": layer}):
            for _ in range(calls):
                layer(torch.ones(1, 2))


def test_hooks_are_gone_after_an_error():
    layer = nn.Linear(2, 3)
    with pytest.raises(ZeroDivisionError):
        with record({"layer": layer}):
            raise ZeroDivisionError
    assert not layer._forward_hooks
