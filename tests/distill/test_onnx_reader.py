"""A foreign reader of lines as a teacher: charset, frames, cache."""

import json
from importlib.util import find_spec

import cv2
import numpy as np
import onnx
import pytest
import torch
import yaml

from graphkd.cli import main
from graphkd.distill.frame_cache import FRAME, FrameCache, packed, unpacked
from graphkd.distill.onnx_file import OnnxFile
from graphkd.distill.onnx_reader import ANSWER, FrameReader, OnnxReader, projection
from graphkd.errors import UserError
from graphkd.modelfile import KEY, Header
from graphkd.text.charset import Charset
from tests.crops_data import write_reader_pair

NEEDS = frozenset({"frames"})
STUDENT = Charset(("a", "b", "é"))
# Blank and the four characters that the model below knows by the grey of a cell.
GREYS = {"": 0, "a": 60, "B": 120, "e\u0301": 180, "\u6f22": 240}
ABOUT = {
    "input": "x",
    "format": "BGR",
    "mean": [0.0] * 3,
    "std": [1.0] * 3,
    "multiple": 8,
    "frames": "y",
    "height": 48,
    "charset": {"metadata": "character"},
    "probabilities": ["frames"],
}


class Greys(torch.nn.Module):
    """Probabilities of the five greys in every 8 columns of the blue channel."""

    def __init__(self):
        super().__init__()
        self.register_buffer("greys", torch.tensor([float(each) for each in GREYS.values()]))

    def forward(self, x):
        cells = torch.nn.functional.avg_pool2d(x[:, :1], (48, 8))[:, 0, 0]
        return (-(cells[..., None] - self.greys).square() / 500).softmax(-1)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    path = tmp_path_factory.mktemp("reader") / "reader.onnx"
    axes = {"x": {0: "n", 3: "w"}, "y": {0: "n", 1: "t"}}
    names = {"input_names": ["x"], "output_names": ["y"], "dynamic_axes": axes}
    torch.onnx.export(
        Greys().eval(), (torch.zeros(1, 3, 48, 64),), str(path), dynamo=False, **names
    )
    model = onnx.load(str(path))
    entry = model.metadata_props.add()
    entry.key, entry.value = "character", "\n".join([*GREYS][1:])
    return model.SerializeToString()


@pytest.fixture()
def described(network, tmp_path):
    """Writes the description beside a copy of the file."""

    def write(**changes):
        path = tmp_path / "reader.onnx"
        path.write_bytes(network)
        about = {key: each for key, each in {**ABOUT, **changes}.items() if each is not None}
        path.with_suffix(".yaml").write_text(yaml.safe_dump(about))
        return OnnxFile(path)

    return write


def line(*texts, height=48, cell=8):
    """A picture (height, W, 3) RGB of the greys of some characters; red says nothing."""
    greys = np.repeat([GREYS[text] for text in texts], cell * height // 48)
    picture = np.repeat(np.uint8(greys)[None, :, None], height, 0).repeat(3, 2)
    picture[..., 0] = 255 - picture[..., 0]
    return picture


@pytest.fixture()
def items(tmp_path):
    """Three lines on disk, the third as the first."""
    rows, found = [("a", "", "a"), ("B", "e\u0301", "", "\u6f22"), ("a", "", "a")], []
    for number, row in enumerate(rows):
        path, picture = tmp_path / f"line{number}.png", line(*row)
        cv2.imwrite(str(path), picture[..., ::-1])
        size = {"height": 48, "width": picture.shape[1]}
        found.append({"file_name": str(path), "text": "aa", **size})
    return found


def mapped(item, progress=0.0):
    """The item as a mapper gives it, BGR, in the bucket of 64 columns."""
    picture = cv2.imread(item["file_name"])
    image = torch.zeros(3, 48, 64, dtype=torch.uint8)
    image[:, :, : picture.shape[1]] = torch.from_numpy(picture.transpose(2, 0, 1))
    return {**item, "image": image, "line_width": picture.shape[1]}


def test_it_reads_by_its_own_charset(described):
    reader = FrameReader(described())
    assert reader.entries == ("a", "B", "e\u0301", "\u6f22")
    text, score = reader.read(line("a", "", "a", "B", "B", "\u6f22"))
    assert text == "aaB\u6f22" and score > 0.9
    assert FrameReader(described(format="RGB")).read(line("a", "B"))[0] != "aB"
    # 24 pixels high: enlarged to 48.
    assert reader.read(line("e\u0301", height=24))[0] == "e\u0301"


def test_the_students_classes_by_character_width_and_case():
    charset = Charset(("b", "a", "é", "A", "1"))
    entries = ("a", "A", "e\u0301", "B", "\uff11", "\uff22", "\u6f22")
    assert projection(entries, charset).tolist() == [0, 2, 4, 3, 1, 5, 1, -1]


def test_probabilities_of_other_characters_are_dropped_and_rows_sum_to_one():
    probabilities = np.array([[0.1, 0.5, 0.2, 0.1, 0.1], [0.2, 0.1, 0.1, 0.0, 0.6]], np.float32)
    frames = packed(probabilities)
    assert frames.dtype == FRAME and frames["classes"][1, :3].tolist() == [4, 1, 2]
    found, lost = unpacked(frames, np.array([0, 2, 2, 1, -1]), 4)
    expected = [[0.1 / 0.9, 0.1 / 0.9, 0.7 / 0.9, 0], [0.5, 0, 0.5, 0]]
    np.testing.assert_allclose(found, expected, atol=2e-3)
    np.testing.assert_allclose(lost, [0.1, 0.6], atol=1e-3)


def test_only_the_eight_best_classes_are_kept():
    probabilities = np.full((1, 20), 0.01, np.float32)
    probabilities[0, 0], probabilities[0, 12] = 0.3, 0.52
    frames = packed(probabilities)
    assert frames["classes"][0].tolist() == [12, 1, 2, 3, 4, 5, 6, 7]
    assert float(frames["rest"][0]) == pytest.approx(0.11, abs=1e-3) and frames.nbytes == 36


def test_frames_of_a_batch(described, items):
    teacher = OnnxReader(described(), STUDENT)
    assert teacher.provides == NEEDS and teacher.classes is None
    said = teacher.observe([mapped(item) for item in items], None, NEEDS).frames
    assert said.logits.shape == (3, 4, 4) and said.lengths.tolist() == [3, 4, 3]
    assert said.logits[0, :3].argmax(-1).tolist() == [1, 0, 1]
    assert said.logits[1].argmax(-1)[:3].tolist() == [2, 3, 0]
    # The student has no \u6f22.
    assert said.trusted.tolist() == [[True] * 3 + [False]] + [
        [True, True, True, False],
        [True] * 3 + [False],
    ]
    torch.testing.assert_close(said.logits[0, :3].exp().sum(-1), torch.ones(3), atol=1e-5, rtol=0)
    assert said.logits.min() >= np.log(1e-8) - 1e-4


def test_a_hit_is_the_computation_bit_for_bit(described, items, tmp_path, caplog):
    options = {"cache": tmp_path / "cache", "output_dir": tmp_path, "student_format": "BGR"}
    teacher = OnnxReader(described(licence="MIT"), STUDENT, **options)
    with caplog.at_level("INFO"):
        mapper = teacher.prepare(items, mapped)
    assert "3 of the student's 3 characters" in caplog.text
    assert "3 lines, 2 of them new" in caplog.text  # the third is the first
    assert json.loads((tmp_path / "teacher.json").read_text())["licence"] == "MIT"
    batch = [mapper(item) for item in items]
    assert all(item[ANSWER].dtype == FRAME for item in batch)
    kept = teacher.observe(batch, None, NEEDS).frames
    live = teacher.observe([mapped(item) for item in items], None, NEEDS).frames
    assert torch.equal(kept.logits, live.logits) and torch.equal(kept.lengths, live.lengths)
    caplog.clear()
    with caplog.at_level("INFO"):
        again = OnnxReader(described(licence="Apache"), STUDENT, **options).prepare(items, mapped)
    assert "3 lines, 0 of them new" in caplog.text
    assert (again(items[1])[ANSWER] == batch[1][ANSWER]).all()


def shards(tmp_path):
    return sorted((tmp_path / "cache").rglob("*.npy"))


@pytest.mark.parametrize("change", ["file", "description", "line", "preparation", "damage"])
def test_what_changed_is_a_miss(described, items, tmp_path, monkeypatch, caplog, change):
    options = {"cache": tmp_path / "cache"}
    OnnxReader(described(), STUDENT, **options).prepare(items, mapped)
    assert len(shards(tmp_path)) == 1
    file = described(std=[1.1] * 3) if change == "description" else described()
    if change == "file":
        file.path.write_bytes(file.path.read_bytes() + b"\x00")
    if change == "line":
        cv2.imwrite(items[1]["file_name"], line("a", "a", "a", "a"))
    if change == "preparation":
        monkeypatch.setattr("graphkd.distill.frame_cache.PREPARATION", 99)
    if change == "damage":
        shards(tmp_path)[0].write_bytes(shards(tmp_path)[0].read_bytes()[:-1] + b"\x07")
    with caplog.at_level("INFO"):
        mapper = OnnxReader(file, STUDENT, **options).prepare(items, mapped)
    assert f"{1 if change == 'line' else 2} of them new" in caplog.text
    assert len(shards(tmp_path)) == 2
    assert len(mapper(items[1])[ANSWER]) == 4
    assert ("is damaged and not used" in caplog.text) == (change == "damage")


def test_a_killed_run_leaves_only_whole_shards(items, tmp_path):
    cache = FrameCache(tmp_path / "cache", "model")

    def broken(line):
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError):
        cache.fill(items, lambda item: np.zeros((48, 8, 3), np.uint8), broken)
    assert not cache.known()


def test_its_errors_are_counted_in_the_students_charset(described, items):
    teacher = OnnxReader(described(), STUDENT)
    assert teacher.errors(items[:1]) == 0
    assert teacher.errors([{**items[0], "text": "ab"}]) == 0.5
    assert teacher.errors([{**items[1], "text": "be\u0301"}]) == 0  # B is b, \u6f22 is dropped


@pytest.mark.parametrize(
    "changes, complaint",
    [
        ({"charset": {"metadata": "keys"}}, "has no metadata .* its keys: character"),
        ({"height": None}, "does not say height; nothing is guessed"),
        ({"charset": "keys.txt"}, "keys.txt: no such charset file"),
    ],
)
def test_a_wrong_description_is_refused(described, changes, complaint):
    with pytest.raises(UserError, match=complaint):
        FrameReader(described(**changes))


def test_a_charset_of_another_size_is_refused(described):
    reader = FrameReader(described(space=True))
    with pytest.raises(UserError, match="has 5 classes, but its charset and the blank are 6"):
        reader.frames(line("a"))


# Not imported, because another test puts a package of this name in its place.
@pytest.mark.skipif(find_spec("rapidocr") is None, reason="rapidocr is not installed")
def test_rapidocrs_own_reader():
    reader = FrameReader(OnnxFile("rapidocr-rec"))
    picture = np.full((60, 420, 3), 255, np.uint8)
    cv2.putText(picture, "Invoice 1207", (20, 42), cv2.FONT_HERSHEY_SIMPLEX, 1.2, (0, 0, 0), 2)
    text, score = reader.read(picture)
    assert text.replace(" ", "") == "Invoice1207" and score > 0.8
    assert len(reader.frames(reader.prepared(picture))) == 42  # 336 columns


@pytest.mark.parametrize("cache", ["kept", "none"])
def test_it_teaches_a_run(described, crops_data, tmp_path, cache):
    losses = "{ctc_mean: {}, ctc_posterior: {}, dctc: {}}"
    run = write_reader_pair(tmp_path, crops_data, losses=losses)
    folder = cache if cache == "none" else tmp_path / cache
    teacher = described(mean=[255.0] * 3, std=[-1.0] * 3)  # white paper is the blank
    changes = ["DISTILL.TEACHER.CONFIG", "", "DISTILL.TEACHER.ONNX", teacher.path]
    changes += ["DISTILL.TEACHER.CACHE", folder, "SOLVER.MAX_ITER", 2, "TEST.EVAL_PERIOD", 0]
    assert main(["train", str(run), *map(str, changes)]) == 0
    rows = [json.loads(row) for row in (tmp_path / "run" / "metrics.json").read_text().splitlines()]
    rows = [row for row in rows if "total_loss" in row]
    assert rows and all(row["loss_kd_ctc_mean_frames"] > 0 for row in rows)
    assert len(list(tmp_path.glob("kept/*/*.npy"))) == (1 if cache == "kept" else 0)
    assert (tmp_path / "run" / "teacher.json").is_file()


def test_methods_of_features_are_refused(described, crops_data, tmp_path, capsys):
    run = write_reader_pair(tmp_path, crops_data, losses="{fitnets: {TAP: neck}}")
    changes = ["DISTILL.TEACHER.CONFIG", "", "DISTILL.TEACHER.ONNX", str(described().path)]
    assert main(["train", str(run), *changes]) == 2
    assert "reads features, which the teacher does not give" in capsys.readouterr().err


class Exported(torch.nn.Module):
    """Stands for a reader that `graphkd export` wrote: log-probabilities of a, b and é by grey."""

    def forward(self, lines, widths):
        cells = torch.nn.functional.avg_pool2d(lines[..., 1].float()[:, None], (32, 4))[:, 0, 0]
        wanted = torch.arange(4) * 60.0
        frames = (-(cells[..., None] - wanted).square() / 500).log_softmax(-1)
        return frames, widths // 4


def exported(tmp_path, **settings):
    path = tmp_path / "own.onnx"
    example = (torch.zeros(1, 32, 64, 3, dtype=torch.uint8), torch.tensor([64]))
    names = {"input_names": ["lines", "widths"], "output_names": ["frames", "lengths"]}
    axes = {"lines": {2: "w"}, "frames": {1: "t"}}
    torch.onnx.export(Exported(), example, str(path), dynamic_axes=axes, dynamo=False, **names)
    model = onnx.load(str(path))
    header = Header(STUDENT.names, task="text_recognition", settings=settings)
    model.metadata_props.add(key=KEY, value=header.text())
    path.write_bytes(model.SerializeToString())
    return OnnxFile(path)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_reader_of_ours_needs_no_description(tmp_path):
    reader = FrameReader(exported(tmp_path, height=32, decoder="ctc"))
    assert reader.entries == STUDENT.entries
    # 12 columns at 48 pixels are 8 at 32, two frames.
    assert reader.read(line("a", "", "a", "B", "e\u0301", cell=12))[0] == "aabé"
    assert len(reader.frames(reader.prepared(line("a", "B")))) == 3  # 11 columns, 4 a frame
    with pytest.raises(UserError, match="writes steps with attention"):
        FrameReader(exported(tmp_path, height=32, decoder="attention"))
    with pytest.raises(UserError, match="reads no lines"):
        FrameReader(exported(tmp_path))
