"""Rates of loader, synthesis and evaluation."""

import pytest

from graphkd.errors import UserError
from graphkd.evaluation.coco import coco_ap
from tools.bench_data import data_table, evaluation_seconds, made_up_results, main, measure_data


def test_numbers_of_a_small_data_set(own_data):
    result = measure_data(own_data["train"], workers=[0, 1], pages=4, evaluated=20, made=1)
    assert list(result["loader_pages_per_s"]) == [0, 1]
    assert min(result["loader_pages_per_s"].values()) > 0
    assert result["decode_share"] > 0 and result["resize_share"] > 0
    assert result["synthesis_pages_per_s"] > 0 and result["coco_eval_s"] > 0
    assert "loader, 1 workers" in data_table(result)


def test_made_up_results_are_scored_as_neither_perfect_nor_empty():
    truth, results = made_up_results(30)
    assert len(truth["images"]) == 30 and len(results) == 600
    assert 5 < coco_ap(truth, results)["AP"] < 95
    assert evaluation_seconds(3) > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [({"workers": [-1]}, "--workers"), ({"pages": 0}, "--pages 0"), ({"made": 0}, "--made 0")],
)
def test_wrong_numbers_are_a_users_mistake(options, message):
    with pytest.raises(UserError, match=message):
        measure_data("pages_tiny_train", **options)


def test_a_config_without_pages_and_overrides_without_a_config_are_refused(root, own_data):
    with pytest.raises(UserError, match="DATASETS.TRAIN is empty"):
        measure_data(str(root / "configs/students/rcnn_tiny_R18.yaml"))
    with pytest.raises(UserError, match="go with a config"):
        measure_data(own_data["train"], ["INPUT.MIN_SIZE_TRAIN", "(64,)"])


def test_an_unknown_data_set_is_a_users_mistake():
    with pytest.raises(UserError, match="no_such_set"):
        measure_data("no_such_set")


def test_the_script_prints_a_table_or_one_line(own_data, capsys):
    words = ["--workers", "0", "--pages", "2", "--evaluated", "3", "--made", "1"]
    assert main([own_data["train"], *words]) == 0
    assert "COCO evaluation of 3 pages" in capsys.readouterr().out
    assert main(["no_such_set"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
