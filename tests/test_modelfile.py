"""Models as files: what is written is read back, and what cannot be used is refused in a line."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from graphkd.checkpoint import load_weights
from graphkd.errors import UserError
from graphkd.modelfile import (
    Header,
    build_detector,
    inference_config,
    read_header,
    read_model,
    write_safetensors,
)
from graphkd.modeling.network import build_network
from tests.small import CLASSES, page, small_cfg, small_model


@pytest.fixture(scope="module")
def model():
    return small_model().eval()


@pytest.fixture(scope="module")
def checkpoint(model, tmp_path_factory):
    """A `.pth` as a run leaves it."""
    path = tmp_path_factory.mktemp("run") / "model_final.pth"
    content = {"model": model.state_dict(), "classes": list(CLASSES)}
    torch.save({**content, "config": inference_config(small_cfg())}, path)
    return path


@pytest.fixture(scope="module")
def tensors_file(checkpoint, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "model.safetensors"
    thresholds = {name: 0.25 for name in CLASSES}
    stored = read_model(checkpoint)
    facts = {"calibration": {"thresholds": thresholds}, "card": {"trained": "never"}}
    write_safetensors(path, stored, header=replace(stored.header, **facts), half=False)
    return path


def scores(thresholds):
    return {"calibration": {"thresholds": thresholds}}


def changed_header(source, path, **changes):
    with safe_open(source, framework="pt") as file:
        header = {**json.loads(file.metadata()["graphkd"]), **changes}
        state = {key: file.get_tensor(key) for key in file.keys()}
    save_file(state, path, metadata={"graphkd": json.dumps(header)})
    return path


def test_both_kinds_build_the_model_that_was_stored(model, checkpoint, tensors_file):
    item = page(3)
    batch = [{key: item[key] for key in ("image", "height", "width")}]
    with torch.no_grad():
        expected = model(batch)[0]["instances"]
        for path in (checkpoint, tensors_file):
            stored = read_model(path)
            assert stored.classes == CLASSES and stored.cfg.MODEL.WEIGHTS == ""
            built = build_detector(stored)
            state = built.state_dict()
            assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
            found = built(batch)[0]["instances"]
            torch.testing.assert_close(found.scores, expected.scores, rtol=1e-3, atol=1e-5)


def test_thresholds_and_card_come_back(checkpoint, tensors_file):
    stored = read_model(tensors_file)
    assert stored.header.thresholds == {name: 0.25 for name in CLASSES}
    assert stored.header.card == {"trained": "never"}
    assert read_model(checkpoint).header.thresholds == {}


def test_a_header_as_text_and_back():
    header = Header(CLASSES, calibration=scores({"text": 0.2})["calibration"], card={"seed": "0"})
    assert read_header(header.text()) == header and '"format": 2' in header.text()
    for text in ("", "null", "[]", "{}", '{"format": 2}', '{"format": 1}', "[" * 100_000):
        with pytest.raises(ValueError, match="names no classes"):
            read_header(text)


def test_files_of_format_1_are_read(tensors_file, tmp_path):
    """As version 0.1 wrote them: thresholds beside the classes, no task."""
    path = tmp_path / "old.safetensors"
    with safe_open(tensors_file, framework="pt") as file:
        new = json.loads(file.metadata()["graphkd"])
        state = {key: file.get_tensor(key) for key in file.keys()}
    old = {key: new[key] for key in ("classes", "config", "card")}
    old.update(format=1, thresholds={"text": 0.3})
    save_file(state, path, metadata={"graphkd": json.dumps(old)})
    header = read_model(path).header
    assert (header.task, header.classes) == ("layout", CLASSES)
    assert header.calibration == {"thresholds": {"text": 0.3}}
    assert (header.metrics, header.primary, header.card) == ({}, None, {"trained": "never"})
    old.update(thresholds={"text": 3})
    save_file(state, path, metadata={"graphkd": json.dumps(old)})
    with pytest.raises(UserError, match="threshold of 'text' is 3, not a number in 0..1"):
        read_model(path)


def test_a_checkpoint_may_hold_task_metrics_and_calibration(checkpoint, tmp_path):
    stored = torch.load(checkpoint, weights_only=True)
    said = {
        "task": "layout",
        "calibration": {"thresholds": {"text": 0.3}, "temperature": 1.5},
        "metrics": {"AP": 40.5, "AP50": None},
        "primary": "AP",
    }
    torch.save({**stored, **said}, tmp_path / "a.pth")
    header = read_model(tmp_path / "a.pth").header
    assert {key: getattr(header, key) for key in said} == said
    write_safetensors(tmp_path / "a.safetensors", read_model(tmp_path / "a.pth"))
    again = read_model(tmp_path / "a.safetensors").header
    assert {key: getattr(again, key) for key in said} == said and again.precision == "float16"
    torch.save({**stored, "calibration": {"thresholds": {"text": 3}}}, tmp_path / "b.pth")
    with pytest.raises(UserError, match="b.pth: its threshold of 'text' is 3"):
        read_model(tmp_path / "b.pth")


def test_half_is_half_the_size_and_nearly_the_same(model, checkpoint, tensors_file, tmp_path):
    path = tmp_path / "half.safetensors"
    write_safetensors(path, read_model(checkpoint))
    assert path.stat().st_size < 0.6 * tensors_file.stat().st_size
    for key, value in read_model(path).state.items():
        original = model.state_dict()[key]
        assert value.dtype == original.dtype
        torch.testing.assert_close(value, original, rtol=1e-3, atol=1e-6)
    assert [item.name for item in tmp_path.iterdir()] == ["half.safetensors"]


def test_an_exported_model_is_weights_for_training_and_scoring(tensors_file):
    fresh = build_network(small_cfg())
    load_weights(fresh, tensors_file, classes=CLASSES)
    stored = read_model(tensors_file).state
    assert all(torch.equal(value, stored[key]) for key, value in fresh.state_dict().items())
    with pytest.raises(UserError, match="trained on classes text, title"):
        load_weights(fresh, tensors_file, classes=CLASSES[::-1])


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"classes": 5}, "class list is damaged"),
        ({"classes": ["text", 3]}, "class list is damaged"),
        ({"format": 99}, "its format is 99, this version reads 1 and 2; update"),
        ({"config": "MODEL: {NO_SUCH_KEY: 1}"}, "not a config of this project"),
        ({"config": "MODEL: ["}, "not a config of this project"),
        ({"config": 7}, "not a config of this project"),
        ({"classes": []}, "it names no classes"),
        ({"classes": [*CLASSES[:-1], "text"]}, "it names the class 'text' twice"),
        ({"classes": CLASSES[:3], **scores({})}, "it names 3 classes, but its network has 5"),
        ({"classes": [*CLASSES, "more"]}, "it names 6 classes, but its network has 5"),
        (scores([1, 2]), "thresholds are damaged"),
        (scores({"text": "high"}), "threshold of 'text' is 'high', not a number in"),
        (scores({"text": 7.0}), "threshold of 'text' is 7.0, not a number in"),
        (scores({"text": float("nan")}), "threshold of 'text' is nan, not a number in"),
        (scores({"nosuch": 0.2}), "threshold for 'nosuch', which is not one of"),
        ({"calibration": 3}, "calibration is damaged"),
        ({"calibration": {"unclip": "wide"}}, "calibration is damaged"),
        ({"calibration": {"temperature": {"text": None}}}, "calibration is damaged"),
        ({"metrics": ["AP"]}, "metrics are damaged"),
        ({"metrics": {"AP": "high"}}, "metrics are damaged"),
        ({"metrics": {"AP": 1.0}, "primary": "hmean"}, "metrics are damaged"),
        ({"task": None}, "does not name its task"),
        ({"card": None}, "card is damaged"),
    ],
)
def test_a_damaged_header_is_refused_in_a_line(tensors_file, tmp_path, changes, problem):
    path = changed_header(tensors_file, tmp_path / "odd.safetensors", **changes)
    with pytest.raises(UserError, match=problem) as caught:
        read_model(path)
    assert "odd.safetensors" in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(checkpoint, tmp_path, value):
    stored = torch.load(checkpoint, weights_only=True)
    stored["model"]["backbone.fpn_output2.weight"][0, 0, 0, 0] = value
    torch.save(stored, tmp_path / "bad.pth")
    with pytest.raises(
        UserError, match="bad.pth: backbone.fpn_output2.weight holds NaN or infinity"
    ):
        read_model(tmp_path / "bad.pth")


def test_weights_of_another_shape_are_listed(tensors_file, tmp_path):
    other = small_cfg("rcnn_tiny_MNv4s", "MODEL.ROI_BOX_HEAD.FC_DIM", "16")
    path = changed_header(tensors_file, tmp_path / "a.safetensors", config=inference_config(other))
    with pytest.raises(UserError, match=r"do not fit.*has shape \(.*the model \(16"):
        build_detector(read_model(path))


@pytest.mark.parametrize("kept", [0, 4, 100, 0.5, 0.999])
def test_cut_off_files_are_refused_in_a_line(checkpoint, tensors_file, tmp_path, kept):
    for source in (checkpoint, tensors_file):
        raw = source.read_bytes()
        path = tmp_path / source.name
        path.write_bytes(raw[: int(len(raw) * kept) if isinstance(kept, float) else kept])
        with pytest.raises(UserError, match=f"{path.name}: (damaged|not a readable)") as caught:
            read_model(path)
        assert "\n" not in str(caught.value)


def test_a_flipped_bit_of_a_checkpoint_is_noticed(model, checkpoint, tmp_path):
    raw = bytearray(checkpoint.read_bytes())
    weight = model.state_dict()["backbone.fpn_output2.weight"].numpy().tobytes()
    raw[raw.index(weight[:64]) + 1] ^= 8
    (tmp_path / "a.pth").write_bytes(raw)
    with pytest.raises(UserError, match="a.pth: damaged, the checksum of"):
        read_model(tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"optimizer": {}}, "holds no model"),
        ([1, 2], "holds no model"),
        ({"model": {"a": torch.ones(1)}}, "names no classes"),
        ({"model": {"a": "text"}, "classes": ["a"]}, "holds no model"),
        ({"model": {"a": torch.ones(1)}, "classes": ["a"]}, "no config inside or beside it"),
    ],
)
def test_other_checkpoints_are_refused_in_a_line(tmp_path, content, problem):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(UserError, match=f"a.pth: .*{problem}"):
        read_model(tmp_path / "a.pth")


def test_other_files_are_refused_in_a_line(tmp_path, checkpoint):
    with pytest.raises(UserError, match="no such weights file"):
        read_model(tmp_path / "none.pth")
    (tmp_path / "a.onnx").write_bytes(b"")
    with pytest.raises(UserError, match="a .pth or .safetensors"):
        read_model(tmp_path / "a.onnx")
    with pytest.raises(UserError, match="no such config"):
        read_model(checkpoint, config=tmp_path / "none.yaml")
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="a.yaml: not a config"):
        read_model(checkpoint, config=tmp_path / "a.yaml")
    save_file({"a": torch.ones(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(UserError, match="names no classes"):
        read_model(tmp_path / "foreign.safetensors")
