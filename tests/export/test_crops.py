"""Text recognisers in exported files: the same texts, any width, budget, eight bits."""

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest

import graphkd
from graphkd.cli import main
from graphkd.errors import UserError
from graphkd.export.crop_parity import CropLimits, compare_crops
from graphkd.export.crops import BUDGET, LIMITS
from graphkd.export.job import ExportOptions, bytes_of, export
from graphkd.export.pages import generated_crops, named_pages
from graphkd.modelfile import read_header, read_model
from graphkd.predict.onnx_detector import load_onnx
from graphkd.predict.torch_reader import torch_reader
from graphkd.text.prepare import PREPARATION
from tests.crop_models import CHARACTERS, KINDS, drawn_line, store_reader, write_crops


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lines")
    write_crops(folder, 8)
    return folder


@pytest.fixture(scope="module", params=KINDS)
def exported(request, tmp_path_factory, lines):
    path = store_reader(tmp_path_factory.mktemp("reader") / "m.safetensors", request.param)
    return request.param, path, export(ExportOptions(path, pages=str(lines)), progress=False)


def test_texts_are_those_of_the_model(exported):
    _, _, result = exported
    assert result.comparison.faults == () and result.path.is_file()
    numbers = result.comparison.numbers
    assert numbers["lines"] == 8 and numbers["buckets"] >= 3 and numbers["texts_share"] == 0
    assert numbers["score_error_max"] < 1e-3
    assert not numbers["known"] and numbers["exact_exported"] == 100


def test_three_widths_and_batches_agree_with_torch(exported):
    _, path, result = exported
    trained, file = (
        torch_reader(read_model(path), device="cpu"),
        load_onnx(result.path, device=None),
    )
    texts = set()
    for width in (64, 320, 480):
        written = ("abcdef 0123", "0.1 bad cab", "hhg fade")
        pixels = [drawn_line(text, width=width - 7) for text in written]
        batch = [trained.prepare(each) for each in pixels]
        assert {each.shape for each in batch} == {max(64, width)}
        wanted, given = trained.frames(batch), file.frames(batch)
        assert np.array_equal(wanted["best"], given["best"])
        assert np.array_equal(wanted["lengths"], given["lengths"])
        assert np.abs(wanted["best_score"] - given["best_score"]).max() < 1e-4
        texts |= {found.text for found in file.detect(batch)}
    assert max(map(len, texts)) > 2


def test_the_file_holds_charset_and_preparation(exported):
    kind, _, result = exported
    model = onnx.load(result.path)
    header = read_header(model.metadata_props[0].value)
    assert header.task == "text_recognition" and header.classes == CHARACTERS
    assert header.config == "" and header.precision == "float32"
    decoder = "attention" if kind == "RARE" else "ctc"
    assert header.settings == {"height": 32, "decoder": decoder, "preparation": PREPARATION}
    assert [each.name for each in model.graph.input] == ["lines", "widths"]
    outputs = ["best", "best_score", "lengths", "frames"]
    assert [each.name for each in model.graph.output] == outputs


def test_prediction_from_both_files_is_the_same(exported, lines):
    _, path, result = exported
    files = sorted(lines.iterdir())
    first = graphkd.load(path, device="cpu").predict(files)
    second = graphkd.load(result.path).predict(files, batch=4)
    assert [page.text for page in first] == [page.text for page in second]
    for one, other in zip(first, second, strict=True):
        assert one.regions[0].score == pytest.approx(other.regions[0].score, abs=1e-4)


def test_columns_after_the_line_have_no_influence(exported):
    _, _, result = exported
    file = load_onnx(result.path, device=None)
    prepared = file.prepare(drawn_line("abc 12", width=50))
    pixels, width, size = prepared.content
    noisy = pixels.copy()
    noisy[:, width:] = np.random.default_rng(0).integers(0, 256, noisy[:, width:].shape)
    same = [prepared._replace(content=(each, width, size)) for each in (pixels, noisy)]
    one, other = (file.detect([each])[0] for each in same)
    assert one.text == other.text and np.array_equal(one.scores, other.scores)


def test_a_file_above_the_budget_is_refused(lines, tmp_path, capsys):
    path, out = store_reader(tmp_path / "m.safetensors"), tmp_path / "small.onnx"
    out.write_text("the older one")
    words = ["export", str(path), "-o", str(out), "--pages", str(lines)]
    assert main([*words, "--budget", "20kB", "--json", str(tmp_path / "n.json")]) == 1
    assert "--budget is 0.02 MB (0.02 MiB)" in capsys.readouterr().out
    assert out.read_text() == "the older one"
    assert not json.loads((tmp_path / "n.json").read_text())["kept"]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert " MB (" in told and " MiB)" in told and BUDGET == 10 * 2**20


def test_sizes_are_read():
    assert [bytes_of(text) for text in ("10MiB", "4.5MB", "3 kB", "77")] == [
        10 * 2**20,
        4_500_000,
        3000,
        77,
    ]
    with pytest.raises(UserError, match="such as 10MiB"):
        bytes_of("ten")


def test_eight_bit_weights_are_smaller_and_close(lines, tmp_path, monkeypatch):
    assert LIMITS["int8"].cer == 0.1 and LIMITS["int8"].exact == 0.3
    # Random weights decide by little, so single texts may change.
    monkeypatch.setitem(LIMITS, "int8", CropLimits(exact=100, cer=100, texts=1, score=1))
    path = store_reader(tmp_path / "m.safetensors", "CRNN", "MODEL.READER.WIDTH", "1.0")
    plain = export(ExportOptions(path, pages=str(lines)), progress=False)
    out = tmp_path / "small.onnx"
    options = ExportOptions(path, int8=True, out=out, pages=str(lines))
    result = export(options, progress=False)
    assert result.bytes < 0.4 * plain.bytes
    assert result.header.precision == "int8" and result.path.is_file()
    numbers = result.comparison.numbers
    assert 0 < numbers["score_error_mean"] < 0.1
    # Only weights are rounded; recurrent layers and biases stay as they are.
    first, second = (onnx.load(each.path).graph for each in (plain, result))
    before, after = (
        {value.name: onnx.numpy_helper.to_array(value) for value in graph.initializer}
        for graph in (first, second)
    )
    recurrent = {name for node in first.node if node.op_type == "GRU" for name in node.input}
    for name, values in before.items():
        if name in after:
            assert np.array_equal(values, after[name])
        else:
            assert name not in recurrent and after[f"{name}_int8"].dtype == np.int8
    assert recurrent & set(after) and len(set(before) - set(after)) > 20
    with pytest.raises(UserError, match="--calibrate is for detectors"):
        export(replace(options, calibrate=str(lines)), progress=False)


@pytest.mark.parametrize("to", ["torchscript", "safetensors"])
def test_other_kinds_of_files(lines, tmp_path, to):
    path = store_reader(tmp_path / "m.safetensors")
    out = tmp_path / "out.safetensors" if to == "safetensors" else None
    half = False if out else None
    options = ExportOptions(path, to=to, out=out, half=half, pages=str(lines))
    result = export(options, progress=False)
    assert not result.comparison.faults and result.path.is_file()


def test_rounded_weights_have_their_own_limits(lines, tmp_path):
    path = store_reader(tmp_path / "m.safetensors")
    options = ExportOptions(
        path, to="safetensors", out=tmp_path / "h.safetensors", pages=str(lines)
    )
    limits = export(options, progress=False).comparison.limits
    assert limits["cer"] == LIMITS["half"].cer > LIMITS["exact"].cer


def test_another_model_is_refused(lines, tmp_path):
    first, other = (
        torch_reader(read_model(store_reader(tmp_path / f"{n}.safetensors", seed=n)), device="cpu")
        for n in range(2)
    )
    parity = compare_crops(first, other, named_pages(str(lines), classes=None, most=8))
    faults = parity.faults(LIMITS["exact"])
    assert len(faults) == 4 and "exact match falls" in faults[0] and "CER rises" in faults[1]
    assert parity.exact_trained == 100 and parity.cer_trained == 0
    # Only what gets worse counts.
    better = replace(parity, exact_trained=0.0, exact_exported=5.0, cer_exported=0.0)
    assert len(better.faults(replace(LIMITS["exact"], texts=1.0, score=1.0))) == 0


def test_generated_lines_are_known(tmp_path):
    path = store_reader(tmp_path / "m.safetensors")
    reader = torch_reader(read_model(path), device="cpu")
    lines = generated_crops(characters=reader.charset.entries, count=6, seed=1)
    parity = compare_crops(reader, reader, lines, progress=False)
    assert parity.known and parity.exact_trained < 100 and parity.cer_trained > 0
    assert parity.cer_trained == parity.cer_exported and parity.faults(LIMITS["exact"]) == ()
    assert all(set(line["text"]) <= set(CHARACTERS) | {"-"} for line in lines.truth)
