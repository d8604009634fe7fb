"""The task text_detection: training, resuming, scores and calibration through the commands."""

import json

import numpy as np
import pytest
import torch

import graphkd
from graphkd.cli import main
from graphkd.config import load_cfg
from graphkd.data.lines import published
from graphkd.engine import run
from graphkd.engine.jobs import load_run, train_teacher
from graphkd.errors import UserError
from graphkd.tasks import text_detection
from graphkd.tasks.base import task_of
from graphkd.tasks.text_detection import TASK, calibrated, found_lines
from graphkd.text.decode import MapDecoder
from graphkd.text.east import EASTDecoder
from tests.lines_data import write_text_pair


@pytest.fixture(scope="module")
def text_pair(lines_data, tmp_path_factory):
    return write_text_pair(tmp_path_factory.mktemp("text"), lines_data)


@pytest.fixture(scope="module")
def trained(text_pair):
    cfg, source = load_run(str(text_pair), [])
    train_teacher(cfg, source=source)
    return run.train(cfg, source=source)


def load(path):
    return torch.load(path, map_location="cpu", weights_only=True)


def test_a_run_leaves_a_plain_student_with_calibration(trained, text_pair):
    stored = load(trained.weights)
    cfg, _ = load_run(str(text_pair), [])
    assert set(stored["model"]) == set(TASK.build_model(cfg).state_dict())
    assert tuple(stored["classes"]) == ("text",) and stored["task"] == "text_detection"
    assert set(stored["calibration"]) == {"unclip_scale", "box_thresh"}
    assert set(trained.scores) >= {"hmean", "precision", "recall", "hmean70", "DetEval", "items"}
    folder = text_pair.parent / "run" / "eval"
    rows = json.loads(next(folder.rglob("items.json")).read_text())
    assert [set(row) >= {"id", "document", "objects", "found", "right"} for row in rows] == [1] * 4
    assert sum(row["objects"] for row in rows) == 12
    assert len(json.loads(next(folder.rglob("curve.json")).read_text())) == 19


def test_an_interrupted_run_ends_with_the_same_weights(trained, text_pair, tmp_path):
    class Killed(Exception):
        pass

    def die(self):
        if self.trainer.iter == 4:
            raise Killed

    def train(resume):
        cfg, source = load_run(str(text_pair), ["OUTPUT_DIR", str(tmp_path)])
        return run.train(cfg, source=source, resume=resume)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(run.ProgressBar, "before_step", die, raising=False)
        train(False)
    result = train(True)
    expected, found = load(trained.weights)["model"], load(result.weights)["model"]
    assert all(torch.equal(value, found[key]) for key, value in expected.items())


def test_train_and_eval_commands_agree(lines_data, tmp_path, capsys):
    path = write_text_pair(tmp_path, lines_data, kind="east", method="sdet")
    assert main(["train", str(path), "--with-teacher"]) == 0
    scores = json.loads((tmp_path / "run" / "result.json").read_text())["scores"]
    assert scores["hmean"] is not None and scores["items"] == 4
    capsys.readouterr()
    assert main(["eval", str(path)]) == 0
    assert "hmean" in capsys.readouterr().out


def test_one_stage_detectors_are_also_scored_as_boxes(lines_data, tmp_path):  # noqa: F811
    path = write_text_pair(tmp_path, lines_data, kind="csp", method="region_features")
    cfg, source = load_run(str(path), ["TEST.EVAL_PERIOD", "0"])
    train_teacher(cfg, source=source)
    result = run.train(cfg, source=source)
    assert set(load(result.weights)["calibration"]) == {"box_thresh"}
    assert set(result.scores) >= {"hmean", "AP", "AP50", "box_precision", "box_recall"}
    assert all(0 <= result.scores[key] <= 100 for key in ("hmean", "AP50", "box_recall"))


def test_sets_of_regions_and_more_classes_are_refused(text_pair, own_data):
    cfg = load_cfg(text_pair, ["DATASETS.TRAIN", str((own_data["train"],))])
    with pytest.raises(UserError, match="no text lines"):
        TASK.classes(cfg, source=text_pair)
    cfg = load_cfg(text_pair, ["MODEL.META_ARCHITECTURE", "GFL", "MODEL.GFL.NUM_CLASSES", "5"])
    with pytest.raises(UserError, match="one class"):
        TASK.classes(cfg, source=text_pair)
    cfg = load_cfg(text_pair)
    assert task_of(cfg) is TASK and TASK.classes(cfg, source=text_pair) == ("text",)


class Drawn(torch.nn.Module):
    """Gives each page the shrunk truth as its map, but 1.2 times as high as it should be."""

    def __init__(self, cfg, grow):
        super().__init__()
        self.place, self.decoder = torch.nn.Parameter(torch.zeros(1)), MapDecoder(min_before=1.0)
        self.cfg, self.grow = cfg, grow

    def forward(self, batch):
        from graphkd.modeling.maps.labels import DBLabels

        (item,) = batch
        size = tuple(item["image"].shape[-2:])
        draw = DBLabels((self.grow,) * 2, 1.0)
        text = draw(item["polygons"], item["ignore"], *size, 0.0)["text"]
        logits = np.where(text, 4.0, -4.0).astype(np.float32)
        original = item["height"], item["width"]
        polygons, scores = self.decoder({"text": logits}, size=size, original=original)
        return [{"polygons": polygons, "scores": scores}]


def test_calibration_finds_the_factor_that_a_wrong_map_needs(text_pair, lines_data):
    cfg = load_cfg(text_pair)
    right, small = Drawn(cfg, 0.6), Drawn(cfg, 0.45)
    found = TASK.calibrate(cfg, right, lines_data["test"])
    assert 0.9 <= found["unclip_scale"] <= 1.1
    scale = TASK.calibrate(cfg, small, lines_data["test"])["unclip_scale"]
    assert scale > found["unclip_scale"]
    scores = TASK.evaluate(cfg, right, lines_data["test"], calibration=found)
    assert scores["hmean"] == 100 and scores["line_height_error"] < 10
    assert scores["splits"] == scores["merges"] == 0
    # A threshold above every score finds nothing; the model keeps its own decoder.
    nothing = TASK.evaluate(cfg, right, lines_data["test"], calibration={"box_thresh": 0.999})
    assert nothing["hmean"] == 0 and right.decoder.box_thresh == 0.5


def test_calibrated_numbers_go_where_they_belong():
    numbers = {"box_thresh": 0.4, "unclip_scale": 1.1}
    assert calibrated(MapDecoder(), numbers) == MapDecoder(box_thresh=0.4, unclip_scale=1.1)
    assert calibrated(EASTDecoder(), numbers) == EASTDecoder(box_thresh=0.4)
    assert calibrated(None, numbers) is None


def test_boxes_become_four_corners():
    from detectron2.structures import Boxes, Instances

    instances = Instances((10, 20))
    instances.pred_boxes = Boxes(torch.tensor([[1.0, 2.0, 5.0, 4.0]]))
    instances.scores = torch.tensor([0.5])
    ((corners, score),) = found_lines({"instances": instances})
    assert corners.tolist() == [[1, 2], [5, 2], [5, 4], [1, 4]] and score == 0.5
    assert text_detection.TASK.primary_metric.higher_is_better


def test_prediction_finds_the_lines_of_the_evaluation(trained, text_pair):
    folder = text_pair.parent / "run" / "eval"
    stored = {
        row["id"]: row["lines"] for row in json.loads(next(folder.rglob("lines.json")).read_text())
    }
    model = graphkd.load(trained.weights, device="cpu")
    cfg, _ = load_run(str(text_pair), [])
    for page in published(cfg.DATASETS.TEST[0]):
        (found,) = model.predict(page["file_name"], score=0.05)
        given = sorted(line.score for region in found.regions for line in region.lines)
        expected = sorted(line["score"] for line in stored[page["image_id"]])
        assert given == pytest.approx(expected, abs=1e-4)
