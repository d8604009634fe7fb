"""Graph losses on made-up regions."""

import pytest
import torch

from graphkd.bench.graph import CLASSES, METHODS, loss_step, made_up_regions, measure_graph
from graphkd.distill.losses.build import build_losses
from graphkd.errors import UserError
from tests.distill.losses.conftest import context


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("nodes", [2, 48, 300])
def test_every_region_becomes_a_node(method, nodes):
    student, teacher, targets = made_up_regions(nodes, 8, device="cpu")
    facts = context(num_classes=CLASSES, text_classes=(0, 1))
    loss = build_losses({method: {}}, facts, source="test").pop(method).module.train()
    terms = loss(student, teacher, targets)
    assert loss.log["nodes_before" if method == "graphkd" else "nodes"] == nodes
    assert all(torch.isfinite(term) for term in terms.values())


@pytest.mark.parametrize("method", METHODS)
def test_a_step_goes_back_to_the_features(method, monkeypatch):
    made = []

    def keep(*args, **options):
        made.append(made_up_regions(*args, **options))
        return made[-1]

    monkeypatch.setattr("graphkd.bench.graph.made_up_regions", keep)
    step = loss_step(method, 20, 8, device="cpu")
    step()
    first = made[0][0].regions.features.grad.clone()
    step()
    assert first.abs().sum() > 0
    assert made[0][0].regions.features.grad.abs().sum() < 3 * first.abs().sum()


def test_numbers_of_both_methods():
    result = measure_graph([8, 128, 256], channels=4, rounds=2, threads=1)
    for values in result["methods"].values():
        assert list(values["seconds"]) == [8, 128, 256] and min(values["seconds"].values()) > 0
        assert values["exponent"] is not None and values["exponent_large"] is not None
    assert result["settings"]["channels"] == 4 and result["machine"]["threads"] == 1


def test_wrong_numbers_are_a_users_mistake():
    with pytest.raises(UserError, match="--nodes"):
        measure_graph([1, 8])
    with pytest.raises(UserError, match="--channels"):
        measure_graph([8], channels=1)
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="no usable GPU"):
            measure_graph([8], device="cuda")
