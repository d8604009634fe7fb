"""Graph losses on made-up regions."""

import json

import pytest
import torch

from graphkd.distill.losses.build import build_losses
from graphkd.errors import UserError
from tests.distill.losses.conftest import context
from tools.bench_graph import (
    CLASSES,
    METHODS,
    growth_exponent,
    loss_step,
    made_up_regions,
    main,
    measure_graph,
)


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

    monkeypatch.setattr("tools.bench_graph.made_up_regions", keep)
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


def test_growth_of_powers():
    sizes = [16, 64, 256]
    assert growth_exponent(sizes, [3e-6 * size**2 for size in sizes]) == pytest.approx(2)
    assert growth_exponent([16], [1.0]) is None


def test_it_prints_a_table_and_writes_json(tmp_path, capsys):
    path = tmp_path / "graph.json"
    words = ["--nodes", "8,16", "--channels", "4", "--rounds", "1", "--threads", "1"]
    assert main([*words, "--json", str(path)]) == 0
    out = capsys.readouterr().out
    assert "nodes a page" in out and "growth" in out
    assert set(json.loads(path.read_text())["methods"]) == {"graphkd", "dsig"}


def test_mistakes_are_one_line_and_code_2_before_any_timing(monkeypatch, root, capsys):
    monkeypatch.setattr("tools.bench_graph.measure_graph", None)
    plain = str(root / "configs/students/rcnn_tiny_R18.yaml")
    assert main(["--config", plain]) == 2
    assert "DISTILL.LOSSES is empty" in capsys.readouterr().err
    assert main(["SOLVER.BASE_LR", "1"]) == 2
    assert capsys.readouterr().err == "bench_graph: KEY VALUE pairs go with --config CONFIG\n"


def test_a_wrong_list_is_named(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--nodes", "a,b"])
    assert stop.value.code == 2 and "no list of whole numbers" in capsys.readouterr().err
