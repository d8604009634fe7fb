import json

import numpy as np
import pytest
import torch
from PIL import Image

from graphkd.cli import main
from graphkd.errors import UserError
from graphkd.export.files import Signature, open_torchscript
from graphkd.export.job import SUFFIX, Comparison, ExportOptions, export, report
from graphkd.modelfile import read_model, write_safetensors
from graphkd.tasks.layout import LayoutTask
from tests.export.sample import page, stored


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    write_safetensors(path, stored(), half=False)
    return path


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    for number, size in enumerate(((128, 96), (256, 192))):
        Image.fromarray(page(*size)).save(folder / f"{number}.png")
    return str(folder)


def test_safetensors_with_thresholds(weights, pages, tmp_path):
    out = tmp_path / "small.safetensors"
    options = ExportOptions(
        weights,
        to="safetensors",
        out=out,
        half=False,
        pages=pages,
        score=0.4,
        by_class={"title": 0.3},
    )
    result = export(options, progress=False)
    assert result.comparison.faults == () and result.bytes == out.stat().st_size
    found = result.comparison.numbers
    assert found["box_error_max"] == 0 and found["unmatched_share"] == 0
    again = read_model(out)
    assert again.header.thresholds == {**dict.fromkeys(again.classes, 0.4), "title": 0.3}
    assert again.header.card == {"seed": "0", "untrained": "yes"}
    said = json.loads(json.dumps(report(options, result), allow_nan=False))
    assert said["kept"] and said["parity"]["pages"] == 2


def test_an_older_file_stays_when_the_new_one_is_refused(weights, pages, tmp_path, monkeypatch):
    """A detector that is off in the file: its boxes move, so it must not be kept."""
    from graphkd.export import job

    def write_other(path, model_file, **options):
        for key, value in model_file.state.items():
            if key.endswith("bbox_pred.weight"):
                value.mul_(-3)
        write_safetensors(path, model_file, **options)

    monkeypatch.setattr(job, "write_safetensors", write_other)
    out = tmp_path / "small.safetensors"
    out.write_text("the older one")
    result = export(ExportOptions(weights, to="safetensors", out=out, pages=pages), progress=False)
    assert result.comparison.faults
    assert out.read_text() == "the older one"
    assert list(tmp_path.iterdir()) == [out]


def test_a_score_below_what_the_model_gives_is_told(weights, pages):
    with pytest.raises(UserError, match="no scores below 0.05"):
        export(ExportOptions(weights, pages=pages, score=0.01), progress=False)


def test_torchscript_by_the_command_line(weights, pages, tmp_path, capsys):
    out, numbers = tmp_path / "tiny.pt", tmp_path / "numbers.json"
    words = ["export", str(weights), "--to", "torchscript", "-o", str(out), "--pages", pages]
    assert main([*words, "--json", str(numbers)]) == 0
    assert "AP not measured" in capsys.readouterr().out
    assert out.is_file() and json.loads(numbers.read_text())["kept"]
    assert sorted(tmp_path.iterdir()) == [numbers, out]


def test_mistakes_are_one_line_and_code_2(weights, tmp_path, capsys):
    for words in (
        [str(tmp_path / "none.pth")],
        [str(weights), "--to", "torchscript", "--int8"],
        [str(weights), "--score-class", "titel=0.3"],
        [str(weights), "--score", "1.5"],
        [str(weights), "--tolerance", "-1"],
        [str(weights), "--pages", "no_such_set"],
    ):
        assert main(["export", *words]) == 2
        assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("name", ["rcnn_tiny_R18", "gfl_pico_MNv4s"])
def test_eight_bits_are_smaller_and_refused_without_tolerance(name, tmp_path, caplog):
    """Random weights keep little under eight bits; what the limits say decides."""
    weights = tmp_path / "tiny.safetensors"
    write_safetensors(weights, stored(name), half=False)
    folder = tmp_path / "pages"
    folder.mkdir()
    for number in range(2):
        Image.fromarray(page(128, 96, seed=number)).save(folder / f"{number}.png")
    out = tmp_path / "tiny.onnx"
    options = ExportOptions(
        weights, int8=True, out=out, pages=str(folder), calibrate=str(folder), tolerance=100
    )
    result = export(options, progress=False)
    assert result.comparison.limits == {"ap": 100, "box": 0.005, "unmatched": 0.05}
    assert result.bytes < 0.6 * sum(4 * value.numel() for value in stored(name).state.values())
    assert out.is_file() == (not result.comparison.faults)
    assert np.isfinite(result.comparison.numbers["box_error_max"])
    assert "pre-processing" not in caplog.text


class LineExporter:
    """A recogniser of lines as another task could export it: frame logits instead of boxes."""

    budget = None
    signature = Signature(
        inputs={"lines": {0: "N", 2: "W"}},
        outputs={"logits": {0: "N", 1: "T"}},
        example=(torch.zeros(2, 8, 21),),
    )

    def __init__(self, stored):
        self.stored = stored
        self.net = torch.nn.Sequential(torch.nn.Conv1d(8, 3, 3, stride=2, padding=1)).eval()

    def header(self, options):
        return self.stored.header

    def network(self, *, for_openvino):
        class Logits(torch.nn.Module):
            def __init__(self, net):
                super().__init__()
                self.net = net

            def forward(self, lines):
                return self.net(lines).transpose(1, 2)

        return Logits(self.net).eval()

    def calibration(self, options, *, progress):
        random = np.random.default_rng(0)
        return ((random.random((1, 8, width), np.float32),) for width in (16, 40))

    def samples(self, options):
        return list(self.calibration(options, progress=False))

    def compare(self, path, lines, options, *, progress):
        import onnxruntime

        errors = []
        for (line,) in lines:
            wanted = self.network(for_openvino=False)(torch.from_numpy(line)).detach().numpy()
            if path.suffix == ".onnx":
                session = onnxruntime.InferenceSession(str(path))
                (given,) = session.run(["logits"], {"lines": line})
            else:
                (given,) = open_torchscript(path)[1](line)
            errors.append(float(np.abs(wanted - given).max()))
        limit = {"exact": 1e-5, "int8": 0.2}[options.precision]
        faults = ("logits differ",) if max(errors) > limit else ()
        return Comparison(
            {"logit_error": max(errors)}, {"logit_error": limit}, ("compared",), faults
        )


@pytest.mark.parametrize(("to", "int8"), [("onnx", False), ("onnx", True), ("torchscript", False)])
def test_another_task_brings_its_own_network_and_comparison(
    to, int8, weights, tmp_path, monkeypatch
):
    monkeypatch.setattr(LayoutTask, "export", lambda task, stored: LineExporter(stored))
    out = tmp_path / f"line{SUFFIX[to]}"
    result = export(ExportOptions(weights, to=to, int8=int8, out=out), progress=False)
    assert result.comparison.faults == () and out.is_file()
    said = report(ExportOptions(weights, to=to), result)
    assert set(said["parity"]) == set(said["limits"]) == {"logit_error"}
    assert result.header.precision == ("int8" if int8 else "float32")


def test_a_wrong_set_is_an_error_before_anything_is_written(weights, monkeypatch):
    monkeypatch.setattr("graphkd.export.job._write", None)
    with pytest.raises(UserError, match="no_such_set"):
        export(ExportOptions(weights, pages="no_such_set"), progress=False)
