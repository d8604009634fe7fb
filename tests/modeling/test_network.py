import subprocess
import sys

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import Boxes
from torch import nn

from graphkd.errors import UserError
from graphkd.modeling.network import build_network, compile_body, is_untrained, parameters
from tests.small import small_cfg


def test_values_are_those_of_detectron2():
    torch.manual_seed(0)
    plain = build_model(small_cfg()).state_dict()
    torch.manual_seed(0)
    ours = build_network(small_cfg()).state_dict()
    assert list(plain) == list(ours)
    assert all(torch.equal(value, ours[key]) for key, value in plain.items())


def test_corners_stay_exact_under_bfloat16():
    pooler = build_network(small_cfg()).roi_heads.box_pooler
    maps = [torch.rand(1, 8, 256 // 2**level, 256 // 2**level) for level in range(4)]
    boxes = [Boxes(torch.tensor([[301.0, 301.0, 340.0, 330.0]]))]
    rounded = [Boxes(torch.tensor([[300.0, 300.0, 340.0, 330.0]]))]
    halves = [features.bfloat16() for features in maps]
    widened = [features.float() for features in halves]
    pooled = pooler(halves, boxes)
    assert torch.equal(pooled, pooler(widened, boxes))
    assert not torch.allclose(pooled, pooler(widened, rounded))


def test_compiling_without_a_compiler_is_one_line_before_the_first_step(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match="no C\\+\\+ compiler no-such-compiler; install one"):
        compile_body(build_network(small_cfg()))


def test_parameters_by_hand():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(5, 2, bias=False))
    model[0].weight.requires_grad_(False)
    assert parameters(model) == (3 * 9 * 8 + 8) + (8 + 8) + 10
    shared = nn.Linear(4, 4)
    assert parameters(nn.Sequential(shared, shared)) == 20


@pytest.mark.parametrize(
    "name", ["rcnn_tiny_MNv4s", "rcnn_tiny_R18", "retinanet_R18", "gfl_v2_R50", "gfl_pico_MNv4s"]
)
def test_a_model_is_untrained_until_its_heads_change(name):
    model = build_network(small_cfg(name))
    assert is_untrained(model.state_dict())
    # A pretrained backbone alone is no training.
    for key, value in model.backbone.state_dict().items():
        if key.endswith("bias"):
            value.normal_()
    assert is_untrained(model.state_dict())
    bias = next(v for k, v in model.state_dict().items() if k.endswith("cls_score.bias"))
    bias[0] += 1e-4
    assert not is_untrained(model.state_dict())


def test_what_detectron2_main_makes_torch_say_is_not_shown():
    code = """
import graphkd.modeling.network, torch
from torch.fx._symbolic_trace import is_fx_tracing
torch.meshgrid(torch.ones(2), torch.ones(2))
is_fx_tracing()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
