"""Latency of model files of both kinds."""

from pathlib import Path

import numpy as np
import pytest
import torch

from graphkd.bench import infer
from graphkd.errors import UserError
from graphkd.modelfile import inference_config
from tests.predict.files import write_onnx
from tests.small import CLASSES, small_cfg, small_model


def write_model(folder, *, seed=0, trained=False):
    """A checkpoint of a tiny real detector, as runs leave it."""
    folder.mkdir(parents=True, exist_ok=True)
    cfg = small_cfg("rcnn_tiny_MNv4s", "INPUT.MIN_SIZE_TEST", "96", "INPUT.MAX_SIZE_TEST", "128")
    model = small_model(seed=seed)
    if trained:
        model.roi_heads.box_predictor.cls_score.bias.data.normal_()
    path = folder / "model_final.pth"
    stored = {
        "model": model.state_dict(),
        "classes": list(CLASSES),
        "config": inference_config(cfg),
    }
    torch.save(stored, path)
    return path


def test_two_files_side_by_side(tmp_path):
    files = [write_model(tmp_path / name, seed=seed) for seed, name in enumerate(("big", "small"))]
    result = infer.measure_inference(files, batches=[1, 2], size=(128, 96), rounds=2, threads=1)
    rows = result["models"]
    assert [(row["file"], row["batch"]) for row in rows] == [
        ("big/model_final.pth", 1),
        ("small/model_final.pth", 1),
        ("big/model_final.pth", 2),
        ("small/model_final.pth", 2),
    ]
    for row in rows:
        assert 0 < row["median_s"] <= row["p95_s"] and row["pages_per_s"] > 0
    assert "big/model_final.pth" in infer.inference_table(result)


def test_untrained_models_are_named_on_one_line(tmp_path):
    files = [write_model(tmp_path / name, trained=name == "b") for name in "ab"]
    random = write_onnx(tmp_path / "c.onnx", header={"card": {"untrained": "yes"}})
    files += [random, write_onnx(tmp_path / "d.onnx")]
    result = infer.measure_inference(files, batches=[1], size=(96, 64), rounds=1, threads=1)
    assert [Path(name).parts[-2:][0] for name in result["untrained"][:1]] == ["a"]
    lines = [x for x in infer.inference_table(result).splitlines() if x.startswith("untrained: ")]
    assert len(lines) == 1 and "c.onnx" in lines[0] and "d.onnx" not in lines[0]
    assert "untrained: " not in infer.inference_table({**result, "untrained": []})


def test_onnx_files_run_through_onnxruntime(tmp_path):
    path = write_onnx(tmp_path / "model.onnx")
    detector, _ = infer.load(path, threads=1)
    assert infer.count_found(detector, [infer.generated_page(0, (96, 64))] * 2) == 2
    result = infer.measure_inference([path], batches=[2], size=(96, 64), rounds=1)
    assert result["models"][0]["boxes_per_page"] == 1


def test_pages_are_generated_ones_of_the_asked_size():
    page = infer.generated_page(1, (120, 90))
    assert page.shape == (120, 90, 3) and page.dtype == np.uint8 and page.std() > 5


@pytest.mark.parametrize("name", ["none.pth", "none.onnx", "page.txt"])
def test_no_model_is_a_users_mistake(tmp_path, name):
    (tmp_path / "page.txt").write_text("text")
    with pytest.raises(UserError, match=name):
        infer.measure_inference([tmp_path / name], batches=[1], rounds=1)


def test_a_foreign_onnx_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="other.onnx: it names no classes; write it with"):
        infer.load(write_onnx(tmp_path / "other.onnx", header={"classes": []}))


def test_an_onnx_file_that_cannot_be_run_is_one_line(tmp_path):
    detector, _ = infer.load(write_onnx(tmp_path / "model.onnx"))
    with pytest.raises(UserError, match="model.onnx: it cannot be run"):
        infer.count_found(detector, [np.zeros((8, 8, 4), np.uint8)])


def test_a_damaged_onnx_file_is_refused(tmp_path):
    (tmp_path / "broken.onnx").write_bytes(b"broken")
    with pytest.raises(UserError, match="not a readable ONNX file"):
        infer.load(tmp_path / "broken.onnx")


def test_a_file_named_twice_is_a_users_mistake(tmp_path):
    path = write_model(tmp_path)
    with pytest.raises(UserError, match="twice"):
        infer.measure_inference([path, path], rounds=1)
