"""Counted parameters and operations against hand numbers; latency of a model of known slowness."""

import time

import pytest
import torch
from torch import nn

from graphkd.evaluation.complexity import flops, latency, parameters


def test_parameters_by_hand():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(5, 2, bias=False))
    model[0].weight.requires_grad_(False)
    assert parameters(model) == (3 * 9 * 8 + 8) + (8 + 8) + 10
    shared = nn.Linear(4, 4)
    assert parameters(nn.Sequential(shared, shared)) == 20


def test_flops_by_hand():
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(800, 4))
    expected = 2 * (3 * 9 * 8 * 10 * 10) + 2 * (800 * 4)
    assert flops(model, torch.zeros(1, 3, 10, 10)) == expected
    assert flops(model, torch.zeros(2, 3, 10, 10)) == 2 * expected


class Sleeper(nn.Module):
    """Sleeps for 10 ms and remembers in which mode it was called."""

    def __init__(self):
        super().__init__()
        self.calls: list[tuple[bool, bool]] = []

    def forward(self, batch):
        self.calls.append((self.training, torch.is_grad_enabled()))
        time.sleep(0.01)
        return batch


def test_latency_measures_one_call():
    model = Sleeper().train()
    measured = latency(model, [1], repeats=5)
    assert 0.01 <= measured.fastest <= measured.median <= measured.slowest
    assert measured.fastest < 0.1 and measured.repeats == 5
    assert set(model.calls) == {(False, False)} and len(model.calls) > 5
    assert model.training


def test_latency_refuses_no_repeats():
    with pytest.raises(ValueError, match="repeats"):
        latency(Sleeper(), [1], repeats=0)
