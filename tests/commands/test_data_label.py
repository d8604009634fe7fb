"""Labels from a trained reader."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image

from graphkd import cli
from graphkd.commands.data.label import recased
from graphkd.data.check.crops import read_rows
from graphkd.distill.onnx_file import OnnxFile
from graphkd.distill.onnx_reader import FrameReader
from graphkd.export.job import ExportOptions, export
from tests.crop_models import store_reader, write_crops
from tests.distill.test_onnx_reader import described, line, network  # noqa: F401


@pytest.fixture()
def crops(tmp_path):
    folder = tmp_path / "crops"
    (folder / "b").mkdir(parents=True)
    rows = {"2.png": ("a", "", "a"), "10.png": ("B", "a"), "b/1.png": ("", ""), "3.png": ("漢",)}
    for name, row in rows.items():
        cv2.imwrite(str(folder / name), line(*row)[..., ::-1])
    (folder / "x.png").write_bytes(b"no picture")
    return folder


def label(model, crops, *options):
    out = crops / "labels.tsv"
    code = cli.main(["data", "label", str(model.path), str(crops), "-o", str(out), *options])
    return code, read_rows(out, lambda problem: None) if out.is_file() and code < 2 else []


def test_it_writes_what_is_read_in_natural_order(described, crops, capsys):  # noqa: F811
    code, rows = label(described(), crops, "--most", "1")
    assert code == 1 and rows == [("2.png", "aa"), ("3.png", "漢"), ("10.png", "Ba")]
    said = capsys.readouterr()
    assert "left out: 1 no text" in said.out and "not read" in said.err and "x.png" in said.err


def test_scores_and_characters_leave_lines_out(described, crops, capsys):  # noqa: F811
    charset = crops / "charset.txt"
    charset.write_text("a\n")
    (crops / "x.png").unlink()
    code, rows = label(described(), crops, "--most", "1", "--charset", str(charset))
    assert code == 0 and rows == [("2.png", "aa")]
    assert "left out: 2 other characters" in capsys.readouterr().out
    assert label(described(), crops)[1] == []  # all of them are too easy
    assert "left out: 4 score above 0.95" in capsys.readouterr().out


@pytest.mark.parametrize("options", [("--least", "0.9", "--most", "0.5"), ("--most", "2")])
def test_wrong_limits(described, crops, options, capsys):  # noqa: F811
    assert label(described(), crops, *options)[0] == 2
    assert "0 <= least <= most <= 1" in capsys.readouterr().err


def test_labels_in_capitals_get_the_case_that_is_read(described, crops, capsys):  # noqa: F811
    truth = crops / "truth.tsv"
    truth.write_text("2.png\tA A\n10.png\tBB\nb/1.png\tX\n", encoding="utf-8")
    (crops / "x.png").unlink()
    code, rows = label(described(), crops, "--case-of", str(truth))
    assert code == 0 and rows == [("2.png", "a a")]
    assert "left out: 3 read otherwise" in capsys.readouterr().out
    assert label(described(), crops, "--case-of", "nowhere.tsv")[0] == 2


@pytest.mark.parametrize(
    ("truth", "read", "cased"),
    [
        ("TAX 5 %", "Tax5%", "Tax 5 %"),
        ("TAX", "Tux", None),
        ("STRASSE", "Straße", None),  # of another length
        ("", "", ""),
    ],
)
def test_recased(truth, read, cased):
    assert recased(truth, read) == cased


def test_models_of_ours_and_their_export_as_a_teacher(tmp_path):
    folder = tmp_path / "crops"
    write_crops(folder, 6)
    path = store_reader(tmp_path / "m.safetensors")
    onnx = export(ExportOptions(path, pages=str(folder)), progress=False).path
    found = [
        label(SimpleNamespace(path=each), folder, "--least", "0", "--most", "1")[1]
        for each in (path, onnx)
    ]
    assert found[0] == found[1] and len(found[0]) > 2
    reader = FrameReader(OnnxFile(onnx))
    read = {name: reader.read(np.asarray(Image.open(folder / name)))[0] for name, _ in found[0]}
    assert read == dict(found[0])
