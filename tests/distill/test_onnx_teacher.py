"""A foreign ONNX file as a teacher."""

import pytest
import torch
import yaml

from graphkd import cli
from graphkd.distill.onnx_file import OnnxFile
from graphkd.distill.onnx_teacher import ANSWER, OnnxTeacher
from graphkd.errors import UserError
from tests.toy_task import ToySegmenter, disc, discs

NEEDS = frozenset({"maps"})
ABOUT = {
    "input": "images",
    "format": "RGB",
    "mean": [0.0, 0.0, 0.0],
    "std": [255.0, 255.0, 255.0],
    "multiple": 8,
    "maps": {"text": "logits"},
    "stride": 1,
    "size": "as_is",
}


class Network(torch.nn.Module):
    """The toy network on a batch of normalised images."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.toy = ToySegmenter(4).eval()

    def forward(self, images):
        return self.toy.head(self.toy.body(images).relu())


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "teacher.onnx"
    model = Network().eval()  # the exporter gives the mode back
    axes = {"images": {0: "n", 2: "h", 3: "w"}}
    names = {"input_names": ["images"], "output_names": ["logits"]}
    sample = torch.zeros(1, 3, 16, 16)
    torch.onnx.export(model, (sample,), str(path), dynamic_axes=axes, dynamo=False, **names)
    return model, path


@pytest.fixture()
def described(network, tmp_path):
    """Writes the description beside a copy of the file."""

    def write(**changes):
        path = tmp_path / "teacher.onnx"
        path.write_bytes(network[1].read_bytes())
        path.with_suffix(".yaml").write_text(yaml.safe_dump({**ABOUT, **changes}))
        return path

    return write


@pytest.fixture()
def batch():
    return [disc(item) for item in discs(0, 3)]


def test_it_says_what_the_network_says(network, described, batch):
    teacher = OnnxTeacher(OnnxFile(described()), student_format="RGB")
    assert teacher.provides == {"maps"} and teacher.classes is None
    with torch.no_grad():
        expected = network[0](torch.stack([item["image"] for item in batch]) / 255)
    said = teacher.observe(batch, None, NEEDS)
    torch.testing.assert_close(said.maps["text"], expected, atol=1e-4, rtol=1e-4)
    assert not said.maps["text"].requires_grad


def test_channels_are_turned_and_pages_padded(network, described, batch):
    teacher = OnnxTeacher(OnnxFile(described()), student_format="BGR")
    cut = [{"image": item["image"][:, :13, :10]} for item in batch[:1]]
    padded = torch.zeros(1, 3, 16, 16)
    padded[0, :, :13, :10] = cut[0]["image"].flip(0) / 255
    with torch.no_grad():
        expected = network[0](padded)
    said = teacher.observe(cut, None, NEEDS).maps["text"]
    torch.testing.assert_close(said, expected[..., :13, :10], atol=1e-4, rtol=1e-4)


def test_probabilities_become_logits_that_are_finite(described, batch):
    teacher = OnnxTeacher(OnnxFile(described(probabilities=["text"])), student_format="RGB")
    # The toy's outputs lie outside of 0..1 here and there, as a saturated sigmoid's do at the ends.
    said = teacher.observe(batch, None, NEEDS).maps["text"]
    assert said.isfinite().all() and said.abs().max() < 9.22  # the logit of 1 - 1e-4


def test_an_answer_in_the_batch_is_taken_as_it_is(described, batch):
    teacher = OnnxTeacher(OnnxFile(described()), student_format="RGB")
    answers = [{**item, ANSWER: {"text": torch.full((1, 16, 16), 0.5)}} for item in batch]
    said = teacher.observe(answers, None, NEEDS).maps["text"]
    assert said.shape == (3, 1, 16, 16) and (said == 0.5).all()


@pytest.mark.parametrize(
    "changes, complaint",
    [
        ({"maps": {"text": "sigmoid_9"}}, "has no output sigmoid_9; its outputs: logits"),
        ({"maps": {}}, "names no output"),
        ({"input": None}, "names no input"),
        ({"colour": "RGB"}, "unknown key colour"),
        ({"mean": None}, "does not say mean; nothing is guessed"),
        ({"stride": None, "size": None}, "does not say stride, size; nothing is guessed"),
        ({"size": {"long_side": 960}}, "size must be as_is or have least_short_side and most"),
        ({"maps": {"text": "logits", "border": "logits"}}, "maps must name the output of the text"),
    ],
)
def test_a_wrong_description_is_refused(described, changes, complaint):
    with pytest.raises(UserError, match=complaint):
        OnnxFile(described(**changes))


def test_a_missing_description_and_a_damaged_file_are_refused(described):
    path = described()
    path.write_bytes(b"no onnx")
    with pytest.raises(UserError, match="onnxruntime cannot open it"):
        OnnxFile(path)
    described().with_suffix(".yaml").unlink()
    with pytest.raises(UserError, match="teacher.yaml is missing"):
        OnnxFile(path)


def test_it_teaches_a_run(described, tmp_path, capsys):
    from tests.test_toy_task import distilled, lines

    path = described()
    config = distilled(tmp_path, "run", f"TEACHER: {{ONNX: {path}}}, LOSSES: {{toy_maps: {{}}}}")
    assert cli.main(["train", str(config), "SOLVER.MAX_ITER", "2"]) == 0
    assert "loss_kd_toy_maps_maps" in lines(tmp_path / "run")[0]
    # Another file under the same name is another teacher.
    path.write_bytes(path.read_bytes() + b"\x00")
    assert cli.main(["train", str(config), "--resume", "SOLVER.MAX_ITER", "2"]) == 2
    assert "teacher" in capsys.readouterr().err


def test_rapidocr_is_found_in_its_package(tmp_path, monkeypatch, network):
    model, _ = network
    (tmp_path / "rapidocr" / "models").mkdir(parents=True)
    (tmp_path / "rapidocr" / "__init__.py").touch()
    path = tmp_path / "rapidocr" / "models" / "PP_det_small.onnx"
    axes = {"x": {0: "n", 2: "h", 3: "w"}}
    names = {"input_names": ["x"], "output_names": ["fetch_name_0"]}
    sample = torch.zeros(1, 3, 16, 16)
    torch.onnx.export(model, (sample,), str(path), dynamic_axes=axes, dynamo=False, **names)
    monkeypatch.syspath_prepend(tmp_path)
    teacher = OnnxTeacher(OnnxFile("rapidocr"), student_format="RGB")
    assert teacher.file.path == path and teacher.answer.shrink == 0.6
    assert teacher._page_size(4000, 1000) == (1600, 384)
    path.with_name("other_det_v9.onnx").touch()
    with pytest.raises(UserError, match=r"has 2 files \*_det_\*.onnx"):
        OnnxFile("rapidocr")


def test_rapidocr_is_asked_for(monkeypatch):
    monkeypatch.setattr("graphkd.distill.onnx_file.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs the package rapidocr: pip install '.\[teacher\]'"):
        OnnxFile("rapidocr")
