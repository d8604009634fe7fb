import pytest
import torch

from graphkd.config import get_cfg
from graphkd.engine import solver
from graphkd.errors import UserError

CPU = torch.device("cpu")


def cfg(dtype, enabled=True):
    node = get_cfg()
    node.SOLVER.AMP.ENABLED, node.SOLVER.AMP.DTYPE = enabled, dtype
    return node


def test_off_is_float32():
    assert solver.autocast_format(cfg("bfloat16", enabled=False), CPU) is None


@pytest.mark.parametrize("native", [True, False])
def test_native_uses_bfloat16_only_where_the_hardware_has_it(monkeypatch, native):
    monkeypatch.setattr(solver, "has_native_bfloat16", lambda device: native)
    expected = torch.bfloat16 if native else None
    assert solver.autocast_format(cfg("native"), CPU) is expected


def test_an_unknown_format_and_float16_on_a_cpu_are_refused():
    with pytest.raises(UserError, match="known: bfloat16, float16, native"):
        solver.autocast_format(cfg("half"), CPU)
    with pytest.raises(UserError, match="needs a GPU"):
        solver.autocast_format(cfg("float16"), CPU)


def test_the_answer_for_this_machine_is_a_bool():
    assert solver.has_native_bfloat16(CPU) in (True, False)
