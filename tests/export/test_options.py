from pathlib import Path

import pytest

from graphkd.errors import UserError
from graphkd.export.boxes import LIMITS
from graphkd.export.job import ExportOptions, check_options

WRONG = {
    "to": ({"to": "caffe"}, "choose one of onnx"),
    "int8": ({"to": "torchscript", "int8": True}, "--int8 is for onnx"),
    "half": ({"half": True}, "--half and --float32"),
    "both": ({"to": "openvino", "half": True, "int8": True}, "choose one"),
    "calibrate": ({"calibrate": "scans"}, "for --int8"),
    "most": ({"most": 0}, "at least one page"),
    "negative": ({"tolerance": -0.1}, "0..100"),
    "nan": ({"tolerance": float("nan")}, "0..100"),
    "suffix": ({"out": Path("a.pt")}, "ends in .onnx"),
    "no folder": ({"out": Path("nowhere/a.onnx")}, "no folder"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_options_are_told_in_one_line(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    changes, message = WRONG[name]
    with pytest.raises(UserError, match=message) as caught:
        check_options(ExportOptions(**{"weights": Path("m.pth"), **changes}))
    assert "\n" not in str(caught.value)


def test_a_folder_and_the_model_itself_are_no_targets(tmp_path):
    (tmp_path / "a.onnx").mkdir()
    with pytest.raises(UserError, match="a folder"):
        check_options(ExportOptions(tmp_path / "m.pth", out=tmp_path / "a.onnx"))
    model = tmp_path / "m.safetensors"
    with pytest.raises(UserError, match="the model itself"):
        check_options(ExportOptions(model, to="safetensors", out=model))


def test_the_file_lies_beside_the_weights_by_default():
    assert ExportOptions(Path("a/m.pth")).target == Path("a/m.onnx")
    assert ExportOptions(Path("a/m.pth"), to="openvino", int8=True).target == Path("a/m-int8.xml")


def test_limits_follow_from_what_the_file_can_hold():
    assert ExportOptions(Path("m.pth")).precision == "exact"
    assert ExportOptions(Path("m.pth"), int8=True).precision == "int8"
    assert ExportOptions(Path("m.pth"), to="openvino", half=True).precision == "half"
    assert ExportOptions(Path("m.pth"), to="safetensors", half=True).precision == "exact"
    assert [LIMITS[name].ap for name in ("exact", "half", "int8")] == [0.1, 1.0, 1.5]
