"""The command line of the benchmarks."""

import json

import pytest

from graphkd.cli import main


@pytest.mark.parametrize("action", ["step", "graph", "infer", "data"])
def test_help_has_examples(action, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["bench", action, "--help"])
    assert stop.value.code == 0
    assert f"graphkd bench {action}" in capsys.readouterr().out.split("examples:")[1]


def test_graph_prints_a_table_and_writes_json(tmp_path, capsys):
    path = tmp_path / "graph.json"
    words = ["--nodes", "8,16", "--channels", "4", "--rounds", "1", "--threads", "1"]
    assert main(["bench", "graph", *words, "--json", str(path)]) == 0
    out = capsys.readouterr().out
    assert "nodes a page" in out and "growth" in out
    assert set(json.loads(path.read_text())["methods"]) == {"graphkd", "dsig"}


@pytest.mark.parametrize(
    "words",
    [
        ["step", "configs/none.yaml"],
        ["graph", "--nodes", "1"],
        ["graph", "SOLVER.BASE_LR", "1"],
        ["infer", "none.pth"],
        ["data", "no_such_set"],
    ],
)
def test_a_users_mistake_is_one_line_and_code_2(words, capsys):
    assert main(["bench", *words]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1 and "bench: " in error[0]


def test_a_wrong_config_of_a_graph_shows_before_its_timing(monkeypatch, root, capsys):
    monkeypatch.setattr("graphkd.bench.graph.measure_graph", None)
    plain = str(root / "configs/students/rcnn_tiny_R18.yaml")
    assert main(["bench", "graph", "--config", plain]) == 2
    assert "DISTILL.LOSSES is empty" in capsys.readouterr().err


def test_a_wrong_list_is_named(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["bench", "graph", "--nodes", "a,b"])
    assert stop.value.code == 2 and "no list of whole numbers" in capsys.readouterr().err
