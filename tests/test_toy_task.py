"""A task that the package does not know goes through the same commands as layout."""

import json

import pytest
import torch

from graphkd import cli
from graphkd.errors import UserError
from graphkd.modelfile import build_detector, read_model
from graphkd.tasks.base import task_named
from tests.report.reading import check_safe
from tests.toy_task import TASK, ToySegmenter

COMMON = """
TASK: "tests.toy_task:TASK"
TOY: {WIDTH: 4}
MODEL: {DEVICE: "cpu"}
DATASETS:
  TRAIN: ["toy_train"]
  VAL: ["toy_val"]
  TEST: ["toy_test"]
DATALOADER: {NUM_WORKERS: 0}
SOLVER: {MAX_ITER: 12, BASE_LR: 0.05, CHECKPOINT_PERIOD: 4, WARMUP_ITERS: 2, OPTIMIZER: "AdamW"}
LOG_PERIOD: 1
TEST: {EVAL_PERIOD: 6}
DISTILL: {RAMP: 0}
SEED: 1
"""


LOSS = "LOSSES: {toy_maps: {}}"


def write(folder, name, text="", *, output=None):
    path = folder / f"{name}.yaml"
    path.write_text(f'{COMMON}{text}OUTPUT_DIR: "{folder / (output or name)}"\n')
    return path


@pytest.fixture()
def pair(tmp_path):
    write(tmp_path, "teacher")
    text = f'\nDISTILL:\n  RAMP: 0\n  TEACHER: {{CONFIG: "{tmp_path}/teacher.yaml"}}\n'
    body = COMMON.replace("DISTILL: {RAMP: 0}\n", "")
    path = tmp_path / "run.yaml"
    path.write_text(f'{body}{text}  LOSSES: {{toy_maps: {{}}}}\nOUTPUT_DIR: "{tmp_path}/run"\n')
    return path


def run(*words):
    return cli.main([str(word) for word in words])


def distilled(tmp_path, name, node):
    body = COMMON.replace("DISTILL: {RAMP: 0}\n", "")
    path = tmp_path / f"{name}.yaml"
    path.write_text(f'{body}DISTILL: {{RAMP: 0, {node}}}\nOUTPUT_DIR: "{tmp_path / name}"\n')
    return path


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]


def load(path):
    return torch.load(path, map_location="cpu", weights_only=True)


def test_train_with_teacher_writes_its_metrics_by_name(pair, tmp_path, capsys):
    assert run("train", pair, "--with-teacher") == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert set(result["scores"]) >= {"error", "IoU", "items"}
    printed = capsys.readouterr().out
    assert "error" in printed and "IoU" in printed and "AP" not in printed
    rows = lines(tmp_path / "run")
    assert {"loss_kd_toy_maps_maps", "loss_pixels"} <= set(rows[0])
    assert any("eval/error" in row for row in rows)
    stored = load(tmp_path / "run" / "model_final.pth")
    assert stored["task"] == "tests.toy_task:TASK" and stored["calibration"]["cut"] > 0
    assert set(stored["model"]) == set(ToySegmenter(4).state_dict())
    assert (tmp_path / "run" / "eval" / "toy_test" / "items.json").is_file()


def test_batches_of_varying_size_resume_exactly(pair, tmp_path):
    assert run("train", pair, "--with-teacher") == 0
    whole = load(tmp_path / "run" / "model_final.pth")["model"]
    for name in ("model_final.pth", "result.json", "model_0000011.pth"):
        (tmp_path / "run" / name).unlink()
    assert run("train", pair, "--resume") == 0
    again = load(tmp_path / "run" / "model_final.pth")["model"]
    assert all(torch.equal(whole[key], again[key]) for key in whole)
    steps = [row["iteration"] for row in lines(tmp_path / "run")]
    assert steps == sorted(set(steps))


def test_eval_scores_a_run_with_its_calibration(pair, tmp_path, capsys):
    assert run("train", tmp_path / "teacher.yaml") == 0
    result = json.loads((tmp_path / "teacher" / "result.json").read_text())["scores"]
    assert run("eval", tmp_path / "teacher.yaml", "--json", tmp_path / "scores.json") == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["error"] == pytest.approx(result["error"])
    printed = capsys.readouterr().out
    assert "error" in printed and "12 discs" in printed


def test_self_distillation_needs_no_teacher_and_leaves_nothing(tmp_path):
    path = distilled(tmp_path, "self", "LOSSES: {toy_self: {}}")
    assert run("train", path) == 0
    stored = load(tmp_path / "self" / "model_final.pth")
    assert set(stored["model"]) == set(ToySegmenter(4).state_dict())
    assert any("head" in key for key in stored["distill"])
    progress = [row["kd/toy_self/progress"] for row in lines(tmp_path / "self")]
    assert progress == pytest.approx([step / 12 for step in range(12)])


def test_self_distillation_ignores_the_teacher_of_its_yaml(tmp_path, capsys):
    node = f"TEACHER: {{CONFIG: {write(tmp_path, 'teacher')}}}, LOSSES: {{toy_self: {{}}}}"
    path = distilled(tmp_path, "self", node)
    assert run("train", path, "--with-teacher") == 0
    assert not (tmp_path / "teacher").exists() and "head" in str(lines(tmp_path / "self")[0])
    assert run("debugtrain", path, "--iterations", 1) == 0
    assert "loss_kd_toy_self_head" in capsys.readouterr().out


def test_the_average_teaches_and_resumes_exactly(tmp_path):
    path = distilled(tmp_path, "ema", "TEACHER: {EMA: True}, LOSSES: {toy_maps: {}, pkd: {}}")
    assert run("train", path) == 0
    names = ("model_final.pth", "model_0000011.pth")
    whole, last = (load(tmp_path / "ema" / name) for name in names)
    assert last["teacher"]["updates"] == 12 and "teacher" not in whole
    for name in (*names, "result.json"):
        (tmp_path / "ema" / name).unlink()
    assert run("train", path, "--resume") == 0
    again, end = (load(tmp_path / "ema" / name) for name in names)
    for one, other in ((whole, again), (last["teacher"], end["teacher"])):
        assert all(torch.equal(one["model"][key], other["model"][key]) for key in one["model"])
    # A run that lacks its result alone takes no further step, so it needs no teacher.
    for name in ("result.json", "model_0000011.pth"):
        (tmp_path / "ema" / name).unlink()
    assert run("train", path, "--resume") == 0
    assert (tmp_path / "ema" / "result.json").is_file()


def test_averaged_weights_are_scored_and_saved(tmp_path):
    assert run("train", write(tmp_path, "plain")) == 0
    path = write(tmp_path, "average")
    assert run("train", path, "SOLVER.EMA", "0.9") == 0
    plain = load(tmp_path / "plain" / "model_final.pth")["model"]
    stored = load(tmp_path / "average" / "model_final.pth")
    own = load(tmp_path / "average" / "model_0000011.pth")["model"]
    assert torch.equal(own["head.weight"], plain["head.weight"])  # training itself is the same
    assert not torch.equal(stored["model"]["head.weight"], own["head.weight"])
    assert torch.equal(stored["model"]["head.weight"], stored["average"]["model"]["head.weight"])
    scores = json.loads((tmp_path / "average" / "result.json").read_text())["scores"]
    assert run("eval", path, "--json", tmp_path / "scores.json") == 0
    assert json.loads((tmp_path / "scores.json").read_text())["error"] == scores["error"]


def test_peers_teach_each_other_and_resume_exactly(tmp_path):
    path = distilled(tmp_path, "peers", "PEERS: 2, LOSSES: {toy_mutual: {}}")
    assert run("train", path) == 0
    first = load(tmp_path / "peers" / "model_final.pth")
    second = load(tmp_path / "peers" / "model_peer2.pth")
    assert not torch.equal(first["model"]["head.weight"], second["model"]["head.weight"])
    assert {"loss_pixels", "loss_pixels_peer2"} <= set(lines(tmp_path / "peers")[0])
    for name in ("model_final.pth", "model_peer2.pth", "result.json", "model_0000011.pth"):
        (tmp_path / "peers" / name).unlink()
    assert run("train", path, "--resume") == 0
    for name, before in (("model_final.pth", first), ("model_peer2.pth", second)):
        again = load(tmp_path / "peers" / name)["model"]
        assert all(torch.equal(before["model"][key], again[key]) for key in again)


def test_a_teacher_may_have_a_teacher_of_its_own(pair, tmp_path, capsys):
    node = f"TEACHER: {{CONFIG: {pair}}}, LOSSES: {{toy_maps: {{}}}}"
    assert run("train", distilled(tmp_path, "third", node), "--with-teacher") == 0
    assert all((tmp_path / name / "result.json").is_file() for name in ("teacher", "run", "third"))
    circle = distilled(tmp_path, "circle", f"TEACHER: {{CONFIG: {tmp_path}/circle.yaml}}, {LOSS}")
    assert run("train", circle, "--with-teacher") == 2
    assert "circle: circle.yaml -> circle.yaml" in capsys.readouterr().err


@pytest.mark.parametrize(
    "node, complaint",
    [
        ("LOSSES: {toy_maps: {}}", "toy_maps needs a teacher"),
        ("LOSSES: {toy_mutual: {}}", "set DISTILL.PEERS to 2"),
        ("TEACHER: {EMA: True}, LOSSES: {graphkd: {}}", "graphkd"),
        ("TEACHER: {EMA: True, ONNX: x.onnx}, LOSSES: {toy_maps: {}}", "keep one of them"),
        ("TEACHER: {ONNX: x.onnx}, LOSSES: {toy_maps: {}}", "there is no file x.onnx"),
    ],
)
def test_what_does_not_fit_is_one_line(tmp_path, capsys, node, complaint):
    assert run("train", distilled(tmp_path, "wrong", node)) == 2
    said = capsys.readouterr().err
    assert complaint in said and said.count("\n") == 1


def test_a_file_of_a_foreign_task_is_read_only_if_it_is_trusted(tmp_path):
    assert run("train", write(tmp_path, "plain")) == 0
    path = tmp_path / "plain" / "model_final.pth"
    with pytest.raises(UserError, match="not part of graphkd"):
        read_model(path)
    model = build_detector(read_model(path, trust=True))
    assert isinstance(model, ToySegmenter)


@pytest.mark.parametrize(
    "name, complaint",
    [
        ("layuot", "known: layout"),
        ("no_such_module:TASK", "cannot be imported"),
        ("tests.toy_task:disc", "is no graphkd.tasks.base.Task"),
    ],
)
def test_an_unknown_task_is_refused(name, complaint):
    with pytest.raises(UserError, match=complaint):
        task_named(name)


def test_a_task_can_be_named_by_object():
    assert task_named("tests.toy_task:TASK") is TASK


def test_report_shows_metrics_by_name_and_the_worst_items(pair, tmp_path):
    assert run("train", pair, "--with-teacher") == 0
    assert run("report", tmp_path / "run.yaml") == 0
    page = check_safe((tmp_path / "run" / "report.html").read_text())
    for words in ("error", "IoU", "error on the validation set", "The worst discs"):
        assert words in page.text
    items = json.loads((tmp_path / "run" / "eval" / "toy_test" / "items.json").read_text())
    worst = max(items, key=lambda item: item["error"])
    assert page.text.index("worst error of run") < page.text.index(str(worst["id"]))
    assert "over 3 documents" in page.text and "AP" not in page.text
    for words in ("Confusion matrix", "Document graph", "by class"):
        assert words not in page.text


def test_compare_ranks_by_the_primary_metric_whose_best_is_the_lowest(pair, tmp_path, capsys):
    out = tmp_path / "compared"
    assert run("compare", pair, "--seeds", 2, "--out", out) == 0
    stored = json.loads((out / "compare.json").read_text())
    assert [metric["name"] for metric in stored["metrics"]] == ["error", "IoU"]
    assert '"AP"' not in json.dumps(stored)
    rows = {row["name"]: row for row in stored["rows"]}
    plain, taught = (rows[name]["values"]["error"]["mean"] for name in ("plain", "toy_maps"))
    # A gain is a lower error.
    assert rows["toy_maps"]["difference"]["mean"] == pytest.approx(plain - taught)
    printed = capsys.readouterr().out
    assert "error" in printed and "IoU" in printed
    assert run("report", out) == 0
    for name in ("compare.html", "report.html"):
        page = check_safe((out / name).read_text())
        assert "error against the cost of a step" in page.text and "IoU" in page.text
        assert "% of teacher" not in page.text
    assert "error of plain" in page.text  # a column of the worst items
