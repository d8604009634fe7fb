"""Prediction on pictures of lines: texts, scores, lines.tsv, and independence of the batch."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import graphkd
from graphkd.cli import main
from graphkd.errors import UserError
from graphkd.export.job import ExportOptions, export
from graphkd.modelfile import Header
from graphkd.predict.crops import CropReader, crop_settings
from graphkd.predict.detector import PageError
from graphkd.text.charset import Charset
from graphkd.text.ctc import read_steps
from tests.crop_models import CHARACTERS, drawn_line, store_reader, write_crops


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """A small reader as .safetensors and .onnx."""
    folder = tmp_path_factory.mktemp("reader")
    write_crops(folder / "lines", 3)
    path = store_reader(folder / "m.safetensors")
    result = export(ExportOptions(path, pages=str(folder / "lines")), progress=False)
    assert result.path.is_file()
    return path, result.path


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    folder = tmp_path_factory.mktemp("crops")
    write_crops(folder / "vol", 11)
    return folder


def toy(call=None, **changes):
    """A reader whose frames are the brightness of every fourth column."""

    def brightness(lines, widths):
        best = (lines[:, 0, ::4, 0] // 26).astype(np.int64)
        lengths = np.minimum(-(-widths // 4), best.shape[1])
        return {"best": best, "best_score": best / 10 + 0.05, "lengths": lengths}

    header = Header(
        tuple("abcdefghi"),
        task="text_recognition",
        settings={**crop_settings(height=32, decoder="ctc"), **changes},
    )
    return CropReader("toy.onnx", header, call or brightness)


def read(path):
    rows = path.read_text(encoding="utf-8").splitlines()
    return [row.split("\t") for row in rows]


@pytest.mark.parametrize("kind", [0, 1])
def test_a_folder_becomes_a_table(reader, crops, tmp_path, kind, capsys):
    words = ["predict", str(reader[kind]), str(crops / "vol"), "-o", str(tmp_path / "out")]
    assert main(words) == 0
    rows = read(tmp_path / "out" / "lines.tsv")
    assert [row[0] for row in rows] == [f"{number}.png" for number in range(11)]  # natural order
    assert all(len(row) == 3 and 0 <= float(row[2]) <= 1 for row in rows)
    assert len({row[1] for row in rows}) > 5
    said = json.loads((tmp_path / "out" / "predict.json").read_text())
    assert said["finished"] and said["lines"] == 11 and said["classes"] == list(CHARACTERS)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "lines.tsv",
        "predict.json",
        "written.txt",
    ]
    assert "11 lines" in capsys.readouterr().out
    # A second run replaces the table.
    assert main([*words, "--overwrite", "--batch", "5"]) == 0
    again = read(tmp_path / "out" / "lines.tsv")
    assert [row[:2] for row in again] == [row[:2] for row in rows]
    scores = [[float(row[2]) for row in each] for each in (rows, again)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-4)


def test_names_are_relative_and_escaped(reader, crops, tmp_path):
    (tmp_path / "in" / "b").mkdir(parents=True)
    Image.fromarray(drawn_line("abc")).save(tmp_path / "in" / "b" / "tab\there.png")
    alone = crops / "vol" / "3.png"
    out = tmp_path / "out"
    words = ["predict", str(reader[1]), str(tmp_path / "in"), str(alone), "-o", str(out)]
    assert main([*words, "--recursive", "--format", "tsv,json"]) == 0
    assert [row[0] for row in read(out / "lines.tsv")] == ["b/tab\\there.png", str(alone)]
    pages = [json.loads(path.read_text()) for path in sorted((out / "pages").iterdir())]
    lines = [page["regions"][0]["lines"][0] for page in pages]
    assert {line["text"] for line in lines} == {row[1] for row in read(out / "lines.tsv")}
    assert all(0 <= line["confidence"] <= 1 for line in lines)


def test_unreadable_pictures_are_listed(reader, crops, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "0.png").write_text("words")
    Image.open(crops / "vol" / "1.png").save(tmp_path / "in" / "1.png")
    out = tmp_path / "out"
    assert main(["predict", str(reader[1]), str(tmp_path / "in"), "-o", str(out)]) == 1
    assert [row[0] for row in read(out / "lines.tsv")] == ["1.png"]
    (failed,) = json.loads((out / "failed.json").read_text())
    assert failed["source"].endswith("0.png") and "not an image" in failed["reason"]


def test_low_scores_are_left_out(reader, crops, tmp_path):
    words = ["predict", str(reader[1]), str(crops / "vol"), "-o"]
    assert main([*words, str(tmp_path / "all")]) == 0
    scores = sorted(float(row[2]) for row in read(tmp_path / "all" / "lines.tsv"))
    least = (scores[4] + scores[5]) / 2
    assert main([*words, str(tmp_path / "some"), "--score", str(least)]) == 0
    kept = [float(row[2]) for row in read(tmp_path / "some" / "lines.tsv")]
    assert sorted(kept) == scores[5:]


def test_options_of_detectors_are_refused(reader, crops, tmp_path, capsys):
    words = ["predict", str(reader[1]), str(crops / "vol"), "-o", str(tmp_path / "out")]
    for more, message in (
        (["--format", "coco"], "--format coco is for detectors"),
        (["--format", "text"], "choose from"),
        (["--score-class", "a=0.5"], "--score-class is for detectors"),
        (["--score", "2"], "a score is a number in 0..1"),
        (["--unclip-scale", "1.1"], "--unclip-scale is for text detectors"),
    ):
        assert main([*words, *more]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_line_is_read_alike_alone_in_any_batch_and_any_order(reader):
    """200 lines of a real net, so that its recurrent layers are in it."""
    model, rng = graphkd.load(reader[1]), np.random.default_rng(0)
    lines = [
        drawn_line("abcd 01.23 efgh"[: int(rng.integers(2, 15))], width=int(rng.integers(20, 400)))
        for _ in range(200)
    ]
    alone = [(page.text, page.regions[0].score) for page in model.predict(lines)]
    assert len({text for text, _ in alone}) > 10
    for batch in (3, 32):
        order = rng.permutation(200)
        pages = model.predict([lines[i] for i in order], batch=batch)
        for place, page in zip(order, pages, strict=True):
            assert page.text == alone[place][0]
            assert page.regions[0].score == pytest.approx(alone[place][1], abs=1e-5)


def test_lines_of_one_width_are_gathered():
    sizes = []

    def call(lines, widths):
        sizes.append(len(lines))
        return {
            "best": np.zeros((len(lines), 4), np.int64),
            "best_score": np.full((len(lines), 4), 0.5),
            "lengths": np.full(len(lines), 4),
        }

    model = graphkd.predict.model.Model(toy(call))
    lines = [np.zeros((32, 60 if number % 2 else 300, 3), np.uint8) for number in range(20)]
    assert len(model.predict(lines, batch=4)) == 20
    assert sizes == [4, 4, 2, 4, 4, 2]


def test_frames_become_text_and_score():
    columns = [1, 1, 0, 2, 2, 9, 0, 0]
    line = np.repeat(np.array([26 * value for value in columns], np.uint8), 4)
    pixels = np.tile(line[None, :, None], (32, 1, 3))
    model = toy()
    (found,) = model.detect([model.prepare(pixels)])
    assert found.text == "abi" and len(found.scores) == 8
    assert found.score == pytest.approx((0.15 * 0.25 * 0.95) ** (1 / 3))
    (region,) = model.regions([model.prepare(pixels)], shown={"text": 0.2})[0]
    assert region.text == "abi" and region.box == (0, 0, 32, 32)
    assert region.lines[0].confidence == region.score == found.score
    assert model.regions([model.prepare(pixels)], shown={"text": 0.9}) == [()]


def test_steps_end_where_the_text_ends():
    best = np.array([[1, 2, 4, 4], [4, 4, 4, 4]])
    scores = np.array([[0.5, 0.5, 0.9, 0.1], [0.8, 0.1, 0.1, 0.1]])
    found = read_steps(best, scores, np.array([2, 0]), Charset(tuple("abc")))
    assert found == [("ab", pytest.approx(0.5)), ("", pytest.approx(0.8))]


def test_files_of_other_versions_are_refused():
    with pytest.raises(UserError, match="preparation 99"):
        toy(preparation=99)
    with pytest.raises(UserError, match="decoder transducer"):
        toy(decoder="transducer")
    with pytest.raises(UserError, match="damaged"):
        toy(height="tall")


def test_values_that_are_not_numbers_name_the_line():
    def call(lines, widths):
        scores = np.full((len(lines), 4), 0.5)
        scores[1] = np.nan
        zeros = np.zeros((len(lines), 4), np.int64)
        return {"best": zeros, "best_score": scores, "lengths": np.full(len(lines), 4)}

    model = toy(call)
    with pytest.raises(PageError) as caught:
        model.detect([model.prepare(np.zeros((32, 40, 3), np.uint8))] * 2)
    assert caught.value.index == 1


def test_the_onnx_path_needs_no_torch(reader, crops, tmp_path):
    code = f"""
import sys
for name in ("torch", "torchvision", "detectron2", "fvcore", "timm"):
    sys.modules[name] = None
from graphkd.cli import main
words = ["predict", {str(reader[1])!r}, {str(crops / "vol")!r}, "-o", {str(tmp_path / "out")!r}]
sys.exit(main(words))
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert len(read(tmp_path / "out" / "lines.tsv")) == 11
