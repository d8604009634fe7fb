"""What train, eval and debugtrain print and leave behind, on the tiny pair."""

import json
import logging
import math
from pathlib import Path

import pytest

from graphkd.cli import main
from graphkd.engine.jobs import load_run, newest_run, run_folder, train_teacher
from graphkd.errors import UserError


@pytest.fixture
def home(pair, tmp_path, monkeypatch):
    """An empty working folder in which the pair's outputs are below output/."""
    monkeypatch.chdir(tmp_path)
    return ["OUTPUT_DIR", "output/run"]


def test_train_with_teacher_then_eval_the_newest_run(pair, home, capsys):
    assert main(["train", str(pair), "--with-teacher", *home]) == 0
    assert "output/run/model_final.pth" in capsys.readouterr().out
    assert main(["eval", "--json", "scores.json"]) == 0
    printed = capsys.readouterr().out
    assert "output/run/model_final.pth on graphkd_test_test (4 pages)" in printed
    with open("scores.json") as stream:
        assert set(json.load(stream)["per_class"]) == {"text", "figure"}
    with open("output/run/result.json") as stream:
        trained = json.load(stream)["scores"]["AP"]
    assert f"{trained:5.1f}" in printed


def test_a_teacher_that_learns_other_pages_is_said(pair, home, own_data, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("graphkd"), "propagate", True)
    test = f"('{own_data['test']}',)"
    cfg, source = load_run(str(pair), [*home, "DATASETS.TRAIN", test])
    cfg.defrost()
    cfg.DISTILL.TEACHER.CONFIG = "teacher.yaml"
    text = (pair.parent / "teacher.yaml").read_text().replace(f"{pair.parent}/teacher", "teacher")
    Path("teacher.yaml").write_text(text.replace("MAX_ITER: 6", "MAX_ITER: 1"))
    train_teacher(cfg, source=source)
    said = [record.getMessage() for record in caplog.records]
    assert any(
        f"the teacher is trained on {own_data['train']}, the student" in line for line in said
    )


@pytest.mark.parametrize("command", ["train", "compare"])
@pytest.mark.parametrize(
    ("override", "message"),
    [
        (["MODEL.ROI_HEADS.NUM_CLASSES", "5"], "the model has 5 classes"),
        (["DATASETS.TRAIN", "('gone',)"], "unknown data set 'gone'"),
        (["DISTILL.LOSSES.graphkd.NODE_TYPE", "font"], "NODE_TYPE must be one of"),
    ],
)
def test_a_mistake_in_the_run_shows_before_its_teacher_is_trained(
    pair, home, capsys, command, override, message
):
    Path("untrained.yaml").write_text(
        (pair.parent / "teacher.yaml").read_text().replace(f"{pair.parent}/teacher", "untrained")
    )
    words = [command, str(pair), *(["--with-teacher"] if command == "train" else [])]
    teacher = ["DISTILL.TEACHER.CONFIG", str(Path("untrained.yaml").absolute())]
    assert main([*words, *home, *teacher, *override]) == 2
    assert message in capsys.readouterr().err and not Path("untrained").exists()


def test_plain_training_gets_a_folder_of_its_own(pair, home, capsys):
    job = ["train", str(pair), "--plain", "SOLVER.MAX_ITER", "1", "--json", "row.json", *home]
    assert main(job) == 0
    assert newest_run().name == "run-plain"
    with open("row.json") as stream:
        row = json.load(stream)
    assert (row["role"], row["method"]) == ("plain", "none") and row["weights"]
    assert "plain" in capsys.readouterr().out


def test_debugtrain_runs_without_a_trained_teacher_and_shows_every_term(pair, home, capsys):
    none = ["DISTILL.TEACHER.CONFIG", str(pair.parent / "untrained.yaml")]
    text = (pair.parent / "teacher.yaml").read_text().replace("/teacher", "/untrained")
    (pair.parent / "untrained.yaml").write_text(text)
    assert main(["debugtrain", str(pair), "--iterations", "2", *none]) == 0
    printed = capsys.readouterr().out
    assert "this check uses random ones" in printed
    values = dict(line.split() for line in printed.splitlines() if line.startswith("  "))
    assert math.isfinite(float(values["loss_kd_graphkd_edges"]))
    assert "kd_share/graphkd_edges" in values
    totals = [line.split()[1] for line in printed.splitlines() if "  total_loss" in line]
    assert len(set(totals)) == 2, "every step shows its own terms"


def test_a_run_with_other_data_is_found_by_its_yaml_its_folder_and_its_data(
    pair, own_data, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    text = pair.read_text().replace(str(pair.parent / "run"), "output/run")
    Path("run.yaml").write_text(text)
    job = ["train", "run.yaml", "--plain", "--data", own_data["test"], "SOLVER.MAX_ITER", "1"]
    assert main(job) == 0
    folder = Path(f"output/{own_data['test']}/run-plain")
    assert (folder / "model_final.pth").is_file()
    folder = folder.rename(folder.with_name("run"))
    capsys.readouterr()
    scored = f"{folder}/model_final.pth on {own_data['test']} (4 pages)"
    for named in (str(folder), f"{folder}/config.yaml"):
        assert main(["eval", named]) == 0
        assert scored in capsys.readouterr().out
    assert main(["eval", "run.yaml", "--data", own_data["test"]]) == 0
    assert scored in capsys.readouterr().out
    assert run_folder("run.yaml", data=own_data["test"]) == run_folder(str(folder)) == folder
    # Another data set: its pages, its own folder of results.
    assert main(["eval", str(folder), "--data", own_data["train"]]) == 0
    assert f"{folder}/model_final.pth on {own_data['train']} (12 pages)" in capsys.readouterr().out
    assert (folder / "eval" / own_data["train"]).is_dir()
    # The yaml's own run, where nothing was trained on that data.
    folder = folder.rename("output/run")
    assert main(["eval", "run.yaml", "--data", "graphkd_test"]) == 0
    assert "output/run/model_final.pth on graphkd_test_test" in capsys.readouterr().out
    assert main(["eval", str(folder), "--data", "pages_tiny"]) == 2
    error = capsys.readouterr().err
    assert "2 classes" in error and "text, title, list" in error and error.count("\n") == 1


def test_a_folder_without_a_run_is_one_line(tmp_path, capsys):
    assert main(["eval", str(tmp_path)]) == 2
    assert "it has no config.yaml" in capsys.readouterr().err


def test_no_run_is_a_clear_error(home):
    with pytest.raises(UserError, match="no finished run under output/"):
        newest_run()
