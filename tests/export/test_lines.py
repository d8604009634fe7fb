"""Exported text detectors find the lines of the trained ones, at every size."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

import graphkd
from graphkd.config import get_cfg, load_cfg
from graphkd.errors import UserError
from graphkd.evaluation.hmean import measure
from graphkd.evaluation.matching import pair
from graphkd.export.job import ExportOptions, export
from graphkd.export.line_parity import compare_lines
from graphkd.export.lines import LIMITS
from graphkd.export.pages import named_pages
from graphkd.modelfile import Header, ModelFile, read_header, read_model, write_safetensors
from graphkd.modeling.network import build_network
from graphkd.predict.onnx_detector import load_onnx
from graphkd.predict.torch_detector import torch_lines
from tests.maps import drawn_lines, map_cfg
from tests.small import CONFIGS

SIZES = [(150, 211), (240, 160), (96, 128)]
THRESH = {"DB": 0.35, "EAST": 0.1, "PicoGFL": 0.35}
NAMES = {"DB": ("text",), "EAST": ("text", "geometry"), "PicoGFL": ("boxes", "scores")}


def stored_model(path, kind, *overrides):
    """A small detector whose random weights find something on every page."""
    cfg = get_cfg("text_detection")
    small = map_cfg(kind)
    if kind == "PicoGFL":
        small = load_cfg(CONFIGS / "students" / "gfl_pico_tiny_MNv4s.yaml")
        small.defrost()
        small.MODEL.GFL.NUM_CLASSES = 1
    cfg.MODEL.update(small.MODEL)
    cfg.MODEL.DEVICE, cfg.INPUT.FORMAT = "cpu", "BGR"
    options = ("INPUT.LINES.RESIZE", "long", "INPUT.LINES.SIZE", "224")
    cfg.merge_from_list([*options, *overrides])
    torch.manual_seed(0)
    model = build_network(cfg).eval()
    if kind == "PicoGFL":
        for name, values in model.named_parameters():
            if "cls_score" in name and name.endswith("bias"):
                values.data.zero_()
    else:
        image, _ = drawn_lines(5, seed=1, size=(160, 192))
        plane = torch.from_numpy(image[..., ::-1].transpose(2, 0, 1).copy())
        last = model.head.text[-1] if kind == "DB" else model.head.text
        with torch.no_grad():
            logits = model.maps(model.preprocess_image([{"image": plane}]).tensor)["text"]
            factor = 6 / logits.std()
            last.weight *= factor
            last.bias.fill_(float(-factor * logits.quantile(0.7 if kind == "DB" else 0.85) + 1.4))
            if kind == "EAST":  # boxes of a few pixels
                model.head.geometry.weight *= 0.1
                model.head.geometry.bias.fill_(-3.5)
    header = Header(("text",), task="text_detection", calibration={"box_thresh": THRESH[kind]})
    stored = ModelFile(path, cfg, model.state_dict(), header)
    write_safetensors(path, stored, half=False)
    return path


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    for number, size in enumerate(SIZES):
        Image.fromarray(drawn_lines(4, seed=number, size=size)[0]).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module", params=["DB", "EAST", "PicoGFL"])
def exported(request, tmp_path_factory, pages):
    path = stored_model(tmp_path_factory.mktemp("lines") / "m.safetensors", request.param)
    result = export(ExportOptions(path, pages=str(pages)), progress=False)
    return request.param, path, result


def same_lines(first, second, *, least=1):
    """Both lists of regions hold nearly the same lines."""
    truth = [(np.array(line.polygon), False) for region in first for line in region.lines]
    found = [(np.array(line.polygon), line.score) for region in second for line in region.lines]
    assert len(truth) >= least and abs(len(truth) - len(found)) <= 0.1 * len(truth)
    (page,) = measure([truth], [found])
    return len(pair(page.iou, min_iou=0.95)) >= 0.9 * len(page.truth_area)


def test_maps_and_lines_are_those_of_the_model_at_three_sizes(exported):
    kind, _, result = exported
    assert not result.comparison.faults and result.path.is_file()
    numbers = result.comparison.numbers
    assert numbers["sizes"] == 3 and numbers["lines"] > 3
    assert numbers["unmatched_share_confident"] <= 0.02
    assert numbers["map_error_max"] < 0.02
    assert (kind == "PicoGFL") == (numbers["map_error_max"] == 0)


def test_the_file_says_how_pages_and_maps_are_read(exported):
    kind, _, result = exported
    model = onnx.load(result.path)
    header = read_header(model.metadata_props[0].value)
    assert header.task == "text_detection" and header.classes == ("text",)
    assert (header.settings["resize"], header.settings["size"]) == ("long", 224)
    assert header.settings["decoder"]["box_thresh"] == THRESH[kind]
    if kind == "DB":
        decoder = header.settings["decoder"]
        assert decoder["shrink_ratio"] == 0.6 and decoder["unclip"] == "exact"
    assert {output.name for output in model.graph.output} >= set(NAMES[kind])
    names = " ".join(each.name for each in model.graph.initializer)
    assert "threshold" not in names and "aux" not in names


def test_prediction_from_both_files_is_the_same(exported, pages):
    _, path, result = exported
    files = sorted(pages.iterdir())
    for first, second in zip(
        graphkd.load(path, device="cpu").predict(files),
        graphkd.load(result.path).predict(files, batch=3),
        strict=True,
    ):
        assert same_lines(first.regions, second.regions)


def test_the_file_takes_any_size_in_multiples_of_32(exported):
    _, path, result = exported
    detector = load_onnx(result.path, device=None)
    trained = torch_lines(read_model(path), device="cpu")
    for zoom in (0.5, 1.0, 1.6):
        page = drawn_lines(4, seed=9, size=(150, 211))[0]
        one, other = (each.prepare(page, zoom=zoom) for each in (detector, trained))
        assert one.shape == other.shape and not any(side % 32 for side in one.shape)
        assert np.array_equal(one.content[0], other.content[0])
        for name, values in detector.raw([one])[0].items():
            assert np.isfinite(values).all(), name


def test_the_score_of_the_options_is_stored(tmp_path, pages):
    path = stored_model(tmp_path / "m.safetensors", "DB")
    result = export(ExportOptions(path, pages=str(pages), score=0.3), progress=False)
    assert graphkd.load(result.path).shown_scores() == {"text": 0.3}


@pytest.mark.parametrize("to", ["torchscript", "openvino", "safetensors"])
def test_other_kinds_of_files(tmp_path, pages, to):
    if to == "openvino":
        pytest.importorskip("openvino")
    path = stored_model(tmp_path / "m.safetensors", "DB")
    out = tmp_path / "out.safetensors" if to == "safetensors" else None
    result = export(ExportOptions(path, to=to, out=out, pages=str(pages)), progress=False)
    assert not result.comparison.faults and result.path.is_file()


def test_eight_bits_are_smaller_and_compared(tmp_path, pages):
    path = stored_model(tmp_path / "m.safetensors", "DB")
    plain = export(ExportOptions(path, pages=str(pages)), progress=False)
    options = ExportOptions(path, int8=True, calibrate=str(pages), pages=str(pages))
    result = export(options, progress=False)
    assert result.bytes < 0.8 * plain.bytes
    assert 0 < result.comparison.numbers["map_error_mean"] < 0.1
    # Random weights make much of small differences; what matters is that the file is judged.
    assert result.path.is_file() != bool(result.comparison.faults)


def test_another_model_is_refused(tmp_path, pages):
    stored = read_model(stored_model(tmp_path / "m.safetensors", "DB"))
    first, other = torch_lines(stored, device="cpu"), torch_lines(stored, device="cpu")
    other.decoder = replace(other.decoder, unclip_scale=3.0)
    parity = compare_lines(first, other, named_pages(str(pages), classes=("text",), most=3))
    assert any("lines" in fault for fault in parity.faults(LIMITS["exact"]))


def test_a_model_that_finds_nothing_cannot_be_compared(tmp_path, pages):
    path = stored_model(tmp_path / "m.safetensors", "DB")
    with pytest.raises(UserError, match="finds nothing"):
        export(ExportOptions(path, pages=str(pages), score=1.0), progress=False)
