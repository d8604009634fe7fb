"""Real short trainings: what a run leaves behind, the same start for plain and distilled,
resuming.
"""

import json
import math
import shutil
from types import SimpleNamespace

import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import get_cfg as plain_detectron2_cfg
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage

from graphkd.data.catalog import add_own
from graphkd.engine import run
from graphkd.engine.hooks import PeriodicEvaluation
from graphkd.engine.jobs import load_run, train_teacher
from graphkd.engine.trainer import DivergedError
from graphkd.errors import UserError
from graphkd.io import held
from tests.own_data import write_coco


@pytest.fixture(scope="module")
def trained(pair):
    """The result of the pair's run, its teacher trained first."""
    cfg, source = load_run(str(pair), [])
    train_teacher(cfg, source=source)
    return run.train(cfg, source=source)


def load(path):
    return torch.load(path, map_location="cpu", weights_only=True)


def train(pair, tmp_path, *overrides, plain=False, resume=False):
    cfg, source = load_run(str(pair), [*overrides, "OUTPUT_DIR", str(tmp_path)], plain=plain)
    return run.train(cfg, source=source, resume=resume)


def test_the_final_weights_are_a_plain_student(trained, pair):
    stored = load(trained.weights)
    cfg, _ = load_run(str(pair), [])
    model = build_model(cfg)
    assert set(stored["model"]) == set(model.state_dict())
    assert stored["classes"] == ["text", "figure"]
    assert "distill" in stored
    assert not [key for key in str(stored.keys()) if "teacher" in key]
    assert sum(value.numel() for value in stored["distill"].values()) < 10_000
    teacher = build_model(load_run(str(pair.parent / "teacher.yaml"), [])[0])
    assert not set(teacher.state_dict()) <= set(stored["model"])


def test_plain_detectron2_loads_a_resnet_student(trained, pair):
    """The teacher's file is of the same kind; its ResNet needs none of our backbones."""
    import yaml

    text = yaml.safe_load((pair.parent / "teacher" / "config.yaml").read_text())
    for key in ("TASK", "DISTILL", "LOG_PERIOD", "TRUST_PICKLES"):
        text.pop(key)
    for key in ("TIMM", "GFL", "CSP"):
        text["MODEL"].pop(key)
    for key in ("SCORE_VOTING", "VOC"):
        text["TEST"].pop(key)
    for key in ("NAME", "VAL"):
        text["DATASETS"].pop(key)
    text["SOLVER"].pop("OPTIMIZER")
    text["SOLVER"].pop("EMA")
    text["SOLVER"].pop("SKIP_NONFINITE")
    text["SOLVER"]["AMP"].pop("DTYPE")
    cfg = plain_detectron2_cfg()
    cfg.merge_from_other_cfg(type(cfg)(text))
    model = build_model(cfg)
    DetectionCheckpointer(model).load(str(pair.parent / "teacher" / "model_final.pth"))
    stored = load(pair.parent / "teacher" / "model_final.pth")["model"]
    assert all(torch.equal(value, stored[key]) for key, value in model.state_dict().items())


def test_the_run_logs_every_term(trained):
    lines = (trained.weights.parent / "metrics.json").read_text().splitlines()
    last = json.loads(lines[-1])
    for key in ("loss_cls", "total_loss", "eval/AP", "kd_factor/graphkd"):
        assert math.isfinite(last[key])
    terms = [key for key in last if key.startswith("loss_kd_graphkd_")]
    assert len(terms) >= 3
    assert all(f"kd_share/{key.removeprefix('loss_kd_')}" in last for key in terms)
    assert trained.scores["AP"] is not None
    assert json.loads((trained.weights.parent / "result.json").read_text())["parameters"] > 1e6


def test_plain_and_distilled_start_alike_and_see_the_same_pages(trained, pair, tmp_path):
    train(pair, tmp_path, plain=True)
    plain = (tmp_path.parent / f"{tmp_path.name}-plain" / "metrics.json").read_text().splitlines()
    distilled = (trained.weights.parent / "metrics.json").read_text().splitlines()
    first, other = json.loads(plain[0]), json.loads(distilled[0])
    for term in ("loss_cls", "loss_box_reg", "loss_rpn_cls", "loss_rpn_loc"):
        assert first[term] == other[term]


def test_an_interrupted_run_ends_with_the_same_weights(trained, pair, tmp_path):
    class Killed(Exception):
        pass

    def die(self):
        if self.trainer.iter == 4:
            raise Killed

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(run.ProgressBar, "before_step", die, raising=False)
        train(pair, tmp_path)
    assert (tmp_path / "model_0000003.pth").is_file()
    result = train(pair, tmp_path, resume=True)
    expected, found = load(trained.weights)["model"], load(result.weights)["model"]
    assert all(torch.equal(value, found[key]) for key, value in expected.items())


def test_a_finished_run_is_not_repeated(trained, pair):
    cfg, source = load_run(str(pair), [])
    before = trained.weights.stat().st_mtime_ns
    assert run.train(cfg, source=source, resume=True) == trained
    assert trained.weights.stat().st_mtime_ns == before


def test_evaluation_of_the_weights_gives_the_same_scores(trained, pair):
    cfg, source = load_run(str(pair), [])
    scores = run.evaluate_weights(cfg, trained.weights, source=source)
    assert scores["AP"] == pytest.approx(trained.scores["AP"], abs=1e-6)


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        ("DISTILL.LOSSES.graphkd.WEIGHT", "loss_kd_graphkd_.* is not finite"),
        ("SOLVER.BASE_LR", ".*"),
    ],
)
def test_a_diverging_run_stops_with_step_term_and_pages(trained, pair, tmp_path, key, problem):
    with pytest.raises(DivergedError, match=rf"step \d+: {problem} on pages .*png"):
        train(pair, tmp_path, key, "1.0e+39", "DISTILL.RAMP", "0")
    assert list(tmp_path.glob("diverged_batch_*.pth"))


def test_a_gpu_that_is_not_there_is_one_line(pair, tmp_path):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(UserError, match="no usable GPU"):
        train(pair, tmp_path, "MODEL.DEVICE", "cuda")


def test_bfloat16_trains(trained, pair, tmp_path):
    result = train(pair, tmp_path, "SOLVER.AMP.ENABLED", "True", "SOLVER.MAX_ITER", "2")
    assert load(result.weights)["model"]["backbone.fpn_output2.weight"].dtype == torch.float32


def test_evaluation_leaves_the_runs_config_alone(trained, pair):
    written = trained.weights.parent / "config.yaml"
    before = written.read_text()
    cfg, source = load_run(str(pair), ["TEST.DETECTIONS_PER_IMAGE", "7"])
    run.evaluate_weights(cfg, trained.weights, source=source)
    assert written.read_text() == before


def test_resuming_another_config_is_refused(trained, pair, tmp_path):
    folder = trained.weights.parent
    cfg, source = load_run(str(pair), ["SOLVER.MAX_ITER", "9"])
    with pytest.raises(UserError, match="SOLVER.MAX_ITER was 6, now it is 9"):
        run.train(cfg, source=source, resume=True)
    assert "MAX_ITER: 6" in (folder / "config.yaml").read_text()


def test_resuming_with_another_teacher_is_refused(trained, pair, tmp_path):
    """The folder of the teacher is a place; what its file holds is not."""
    steps = ("SOLVER.MAX_ITER", "1", "DISTILL.TEACHER.WEIGHTS")
    weights = pair.parent / "teacher" / "model_final.pth"
    copy, other = tmp_path / "copy.pth", tmp_path / "other.pth"
    shutil.copy(weights, copy)
    stored = load(weights)
    stored["model"]["backbone.fpn_output2.weight"] += 1
    torch.save(stored, other)
    first = train(pair, tmp_path / "run", *steps, str(weights))
    assert train(pair, tmp_path / "run", *steps, str(copy), resume=True) == first
    with pytest.raises(UserError, match="the content of its teacher file differs; train without"):
        train(pair, tmp_path / "run", *steps, str(other), resume=True)


def test_what_a_run_began_with_is_kept_while_the_file_is_gone(trained, pair, tmp_path):
    start = tmp_path / "start.pth"
    shutil.copy(pair.parent / "run" / "model_final.pth", start)
    options = ("SOLVER.MAX_ITER", "1", "MODEL.WEIGHTS", str(start))
    first = train(pair, tmp_path / "run", *options)
    about = tmp_path / "run" / "about.json"
    began = json.loads(about.read_text())["MODEL.WEIGHTS"]
    start.unlink()
    assert train(pair, tmp_path / "run", *options, resume=True) == first
    assert json.loads(about.read_text())["MODEL.WEIGHTS"] == began
    torch.save({"model": {}}, start)
    with pytest.raises(UserError, match="the content of its MODEL.WEIGHTS file differs"):
        train(pair, tmp_path / "run", *options, resume=True)


@pytest.mark.parametrize("damage", ["", "[]", '{"teacher": '])
def test_a_damaged_note_of_the_beginning_does_not_stop_a_resume(trained, pair, tmp_path, damage):
    first = train(pair, tmp_path / "run", "SOLVER.MAX_ITER", "1")
    (tmp_path / "run" / "about.json").write_text(damage)
    assert train(pair, tmp_path / "run", "SOLVER.MAX_ITER", "1", resume=True) == first


def test_training_anew_moves_the_earlier_run_aside(trained, pair, tmp_path):
    first = train(pair, tmp_path / "run", "SOLVER.MAX_ITER", "2")
    second = train(pair, tmp_path / "run", "SOLVER.MAX_ITER", "2")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "run.old1"]
    old, new = load(tmp_path / "run.old1" / "model_final.pth"), load(second.weights)
    assert all(torch.equal(value, new["model"][key]) for key, value in old["model"].items())
    assert first.weights == second.weights


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (("DISTILL.LOSSES.graphkd.EDGE_WEIGHT", "-1.0"), "EDGE_WEIGHT"),
        (("MODEL.WEIGHTS", "nowhere.pth"), "MODEL.WEIGHTS"),
    ],
)
def test_a_run_that_cannot_begin_leaves_the_earlier_one_in_its_place(
    trained, pair, tmp_path, wrong, message
):
    first = train(pair, tmp_path / "run", "SOLVER.MAX_ITER", "1")
    with pytest.raises(UserError, match=message):
        train(pair, tmp_path / "run", "SOLVER.MAX_ITER", "1", *wrong)
    assert first.weights.is_file() and not (tmp_path / "run.old1").exists()


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_in_use_is_left_alone(trained, pair, tmp_path, monkeypatch, resume):
    monkeypatch.setattr("graphkd.io._PATIENCE", 0.2)
    first = train(pair, tmp_path / "run", "SOLVER.MAX_ITER", "1")
    (tmp_path / "run" / "result.json").unlink()
    with held(tmp_path / "run"), pytest.raises(UserError, match="another process works there"):
        train(pair, tmp_path / "run", "SOLVER.MAX_ITER", "1", resume=resume)
    assert first.weights.is_file() and not (tmp_path / "run.old1").exists()


@pytest.mark.parametrize(
    ("steps", "message"),
    [("(2,)", "step 2 is the end of training"), ("(2, 1)", "increasing"), ("(1, 1)", "increasing")],
)
def test_learning_rate_steps_that_cannot_be_are_refused(trained, pair, tmp_path, steps, message):
    with pytest.raises(UserError, match=message):
        train(pair, tmp_path, "SOLVER.MAX_ITER", "2", "SOLVER.STEPS", steps)
    assert not list(tmp_path.iterdir())


def test_a_validation_ap_that_cannot_be_measured_is_no_zero():
    found = {"AP": None, "AP50": 3.0, "AP75": None}
    hook = PeriodicEvaluation(lambda: found, metrics=("AP", "AP50", "AP75"), period=1)
    with EventStorage(0) as storage:
        hook.trainer = SimpleNamespace(iter=0, max_iter=5, storage=storage)
        hook.after_step()
    assert {key: value for key, (value, _) in storage.latest().items()} == {"eval/AP50": 3.0}


def test_a_plain_checkpoint_does_not_resume_a_distilled_run(trained, pair, tmp_path):
    result = train(pair, tmp_path, plain=True)
    folder = tmp_path / "distilled"
    folder.mkdir()
    (folder / "model_0000001.pth").write_bytes(result.weights.read_bytes())
    with pytest.raises(UserError, match="lacks distill"):
        train(pair, folder, resume=True)


def test_a_missing_teacher_leaves_an_earlier_run_where_it_is(trained, pair, tmp_path):
    first = train(pair, tmp_path / "run", "SOLVER.MAX_ITER", "1")
    with pytest.raises(UserError, match="no weights yet"):
        train(pair, tmp_path / "run", "DISTILL.TEACHER.WEIGHTS", "gone.pth")
    assert first.weights.is_file() and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("key", ["VAL", "TEST"])
def test_a_set_that_cannot_be_scored_is_refused_before_an_earlier_run_is_touched(
    trained, pair, own_data, data_root, tmp_path, key
):
    train(pair, tmp_path / "run", "SOLVER.MAX_ITER", "1")
    json_file = write_coco(data_root / "spoilt", 4, 0)
    add_own("spoilt", json_file, json_file.parent / "images")
    page = json_file.parent / "images" / "1.png"
    page.write_bytes(page.read_bytes()[:-40])
    with pytest.raises(UserError, match="1.png: the file is cut off.*data check spoilt --fix OUT"):
        train(pair, tmp_path / "run", f"DATASETS.{key}", "('spoilt',)")
    assert (tmp_path / "run" / "result.json").is_file() and len(list(tmp_path.iterdir())) <= 3
    assert not list(tmp_path.glob("run.old*"))


def test_training_pages_that_cannot_be_read_are_left_out(pair, data_root, tmp_path):
    json_file = write_coco(data_root / "spoilt", 6, 0)
    add_own("spoilt", json_file, json_file.parent / "images", text_classes=["text"])
    page = json_file.parent / "images" / "1.png"
    page.write_bytes(page.read_bytes()[:-40])
    result = train(
        pair, tmp_path / "run", "DATASETS.TRAIN", "('spoilt',)", "SOLVER.MAX_ITER", "1", plain=True
    )
    assert result.scores["items"] == 4
    log = (result.weights.parent / "log.txt").read_text()
    assert "1.png: the file is cut off; left out" in log
