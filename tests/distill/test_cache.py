"""Text maps of an ONNX teacher on disk, and how they follow the page."""

import json

import cv2
import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from torch.nn.functional import avg_pool2d

from graphkd.cli import main
from graphkd.data.line_mapper import LineMapper, add_line_config
from graphkd.distill.cache import ANSWER, MapCache, TextAnswer, logits_of, padded, shrunk
from graphkd.distill.onnx_file import OnnxFile
from graphkd.distill.onnx_teacher import OnnxTeacher
from graphkd.errors import UserError
from graphkd.modeling.maps.labels import DBLabels
from tests.distill.test_onnx_teacher import described, network  # noqa: F401
from tests.lines_data import write_text_pair

SIZE = (64, 96)
LINE = np.array([[10, 20], [80, 20], [80, 44], [10, 44]], np.float64)


@pytest.fixture()
def pages(tmp_path):
    """Two pages with a bright line on noise."""
    draw, items = np.random.default_rng(0), []
    for number in range(2):
        image = draw.integers(0, 90, (*SIZE, 3), np.uint8)
        image[20:44, 10 : 80 - 20 * number] = 230
        path = tmp_path / f"page{number}.png"
        cv2.imwrite(str(path), image)
        lines = [{"polygon": LINE.tolist(), "text": "a", "ignore": False}]
        items.append({"file_name": str(path), "height": SIZE[0], "width": SIZE[1], "lines": lines})
    return items


@pytest.fixture()
def mapper():
    cfg = CfgNode({"INPUT": CfgNode({"FORMAT": "RGB"})})
    add_line_config(cfg)
    cfg.INPUT.LINES.RESIZE = "as_is"
    return LineMapper(cfg, is_train=False)


@pytest.fixture()
def teacher(described, tmp_path):  # noqa: F811
    def make(**changes):
        # A small std makes large inputs, so that the untrained network's map has contrast.
        path = described(**{"std": [10.0] * 3, **changes})
        folders = {"cache": tmp_path / "cache", "output_dir": tmp_path}
        return OnnxTeacher(OnnxFile(path), student_format="RGB", **folders)

    return make


def files(tmp_path):
    return sorted((tmp_path / "cache").rglob("*.npz"))


def test_the_cached_map_is_the_live_map(teacher, pages, mapper):
    own = teacher()
    cached = own.prepare(pages, lambda item, progress: mapper(item))(pages[0])
    live = own.observe([mapper(pages[0])], None, frozenset({"maps"})).maps["text"]
    kept = own.observe([cached], None, frozenset({"maps"})).maps["text"]
    assert live.shape == (1, 1, *SIZE) and kept.shape == (1, 1, 32, 48)
    assert live.sigmoid().std() > 0.02  # there is something to see
    torch.testing.assert_close(kept.sigmoid(), avg_pool2d(live.sigmoid(), 2), atol=1e-3, rtol=0)


def test_the_map_moves_with_the_page(teacher, pages, mapper):
    """A mirrored page has the mirrored map, a crop the crop of the map."""
    matrix = np.array([[-1.0, 0, SIZE[1]], [0, 1, 0], [0, 0, 1]])

    def moved(item, progress):
        mapped = mapper(item)
        if progress:
            return {**mapped, "image": mapped["image"].flip(2), "matrix": matrix}
        shift = np.array([[1.0, 0, -20], [0, 1, -8], [0, 0, 1]])
        return {**mapped, "image": mapped["image"][:, 8:40, 20:84], "matrix": shift}

    own = teacher()
    plain = own.prepare(pages, lambda item, progress: mapper(item))(pages[0])[ANSWER]["text"]
    both = own.prepare(pages, moved)
    mirrored, cropped = both(pages[0], 1.0)[ANSWER]["text"], both(pages[0], 0.0)[ANSWER]["text"]
    torch.testing.assert_close(mirrored, plain.flip(2), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(cropped, plain[:, 4:20, 10:42], atol=1e-3, rtol=1e-3)


def test_what_lies_off_the_page_has_no_text(teacher, pages, mapper):
    own = teacher()
    shift = np.array([[1.0, 0, 48], [0, 1, 0], [0, 0, 1]])
    moved = own.prepare(pages, lambda item, progress: {**mapper(item), "matrix": shift})
    found = moved(pages[0])[ANSWER]["text"]
    assert torch.allclose(found[..., :23], torch.tensor(float(logits_of(np.zeros(1))[0])))


def test_only_what_changed_is_computed_again(teacher, pages, mapper, tmp_path):
    teacher().prepare(pages, mapper)
    first = files(tmp_path)
    stamps = [path.stat().st_mtime_ns for path in first]
    assert len(first) == 2
    teacher().prepare(pages, mapper)
    assert [path.stat().st_mtime_ns for path in files(tmp_path)] == stamps
    teacher(mean=[1.0, 0.0, 0.0]).prepare(pages, mapper)
    assert len(files(tmp_path)) == 4
    teacher(licence="MIT").prepare(pages, mapper)  # no part of the preprocessing
    assert len(files(tmp_path)) == 4
    page = cv2.imread(pages[1]["file_name"])
    cv2.imwrite(pages[1]["file_name"], 255 - page)
    own = teacher()
    own.prepare(pages, mapper)
    assert len(files(tmp_path)) == 5
    own.file.path.write_bytes(own.file.path.read_bytes() + b"\x00")
    own.prepare(pages, mapper)
    assert len(files(tmp_path)) == 7


def test_a_failure_leaves_no_file_behind(pages, tmp_path):
    def broken(item):
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError):
        MapCache(tmp_path / "cache", "model").fill(pages, broken)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_start_records_the_teacher_and_shows_a_page(teacher, pages, mapper, tmp_path):
    teacher(licence="Apache-2.0", source="here").prepare(pages, mapper)
    about = json.loads((tmp_path / "teacher.json").read_text())
    assert about["licence"] == "Apache-2.0" and len(about["sha256"]) == 64
    shown = cv2.imread(str(tmp_path / "teacher_map.png"))
    assert shown.shape == (64, 192, 3)
    assert (shown[:, :96] == cv2.imread(pages[0]["file_name"])).all()


def test_a_constant_map_is_refused(teacher, pages, mapper, tmp_path):
    with pytest.raises(UserError, match="text map is constant .* compare format, mean, std"):
        teacher(std=[1e9, 1e9, 1e9]).prepare(pages, mapper)
    assert not files(tmp_path)


def test_pages_get_the_teachers_own_size(teacher):
    own = teacher(size={"least_short_side": 736, "most_long_side": 2000}, multiple=32)
    assert own._page_size(500, 900) == (736, 1312)
    assert own._page_size(1000, 1500) == (992, 1504)
    assert own._page_size(3000, 1000) == (1984, 672)
    assert teacher(multiple=32)._page_size(70, 10) == (64, 32)


@pytest.mark.parametrize("ratios", [(0.4, 0.6), (0.6, 0.4)])
def test_pixels_where_the_labels_of_two_ratios_differ_are_not_trusted(ratios):
    own, other = ratios
    maps = DBLabels((own, own), 1.0)([LINE], np.zeros(1, bool), *SIZE, 0.0)
    item = {
        "image": torch.zeros(3, *SIZE),
        "polygons": (LINE,),
        "ignore": np.zeros(1, bool),
        "maps": {"text": torch.as_tensor(maps["text"])},
    }
    label = shrunk([LINE], np.zeros(1, bool), SIZE, other)
    answer = TextAnswer("agree", None, other)(item, np.float32(label))
    trusted = answer["trusted"][0].numpy() > 0
    assert (trusted == (label == maps["text"][0])).all() and 0.5 < trusted.mean() < 0.99
    assert "trusted" not in TextAnswer("agree", None, None)(item, np.float32(label))


def test_texts_are_drawn_again_with_the_students_ratio():
    label_maker = DBLabels((0.4, 0.6), 1.0)
    item = {"image": torch.zeros(3, *SIZE), "progress": 1.0}
    probability = np.float32(shrunk([LINE], np.zeros(1, bool), SIZE, 0.4))
    found = TextAnswer("boxes", label_maker, 0.4)(item, probability)
    wanted = label_maker([LINE], np.zeros(1, bool), *SIZE, 1.0)["text"] > 0
    drawn = found["text"].numpy() > 0
    assert (drawn & wanted).sum() / (drawn | wanted).sum() > 0.85
    assert "trusted" not in found


def test_answers_of_other_sizes_are_padded_without_text():
    answers = [{"text": torch.zeros(1, 4, 6), "trusted": torch.ones(1, 8, 12, dtype=torch.uint8)}]
    answers.append({key: value[:, :-2, :-3] for key, value in answers[0].items()})
    maps = padded(answers)
    assert maps["text"].shape == (2, 1, 4, 6) and maps["trusted"].shape == (2, 1, 8, 12)
    assert maps["text"][1, 0, 3].max() < -9 and not maps["trusted"][1, 0, 7].any()


@pytest.mark.parametrize("cache", ["kept", "none"])
def test_it_teaches_a_run(teacher, lines_data, tmp_path, cache):
    run = write_text_pair(tmp_path, lines_data)
    path = teacher(shrink=0.4).file.path
    folder = cache if cache == "none" else tmp_path / cache
    changes = ["DISTILL.TEACHER.CONFIG", "", "DISTILL.TEACHER.ONNX", path]
    changes += ["DISTILL.TEACHER.CACHE", folder, "SOLVER.MAX_ITER", 2, "TEST.EVAL_PERIOD", 0]
    assert main(["train", str(run), *map(str, changes)]) == 0
    rows = [json.loads(row) for row in (tmp_path / "run" / "metrics.json").read_text().splitlines()]
    assert all(row["loss_kd_logits_text"] > 0 for row in rows if "total_loss" in row)
    # The three pages without a line are the same picture.
    assert len(list(tmp_path.glob("kept/*/*.npz"))) == (10 if cache == "kept" else 0)
    assert (tmp_path / "run" / "teacher_map.png").is_file()
