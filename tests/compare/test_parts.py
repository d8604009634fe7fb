"""A folder belongs to one config and one teacher; what else lies there is moved aside."""

import json
import logging
from pathlib import Path

import pytest
import yaml
from detectron2.config import CfgNode

from graphkd.compare import parts as module
from graphkd.compare.parts import Part, claim, read_record
from graphkd.engine import inputs, run
from graphkd.engine.jobs import load_run
from graphkd.engine.run_dir import difference_of
from graphkd.errors import UserError
from graphkd.io import held, write_json


@pytest.fixture
def make(pair, tmp_path):
    """Builds the part of the pair's run in a folder, as a finished run left it."""

    def part(*overrides, teacher=None, name="part"):
        cfg, source = load_run(str(pair), [*overrides, "OUTPUT_DIR", str(tmp_path / name)])
        return Part("graphkd", cfg, source, teacher=teacher)

    return part


def finish(part):
    claim(part)
    (part.folder / "config.yaml").write_text(part.cfg.dump())
    weights = part.folder / "model_final.pth"
    weights.touch()
    run.write_result(part.folder, run.RunResult(weights, {}, 0.0, 0))
    return part


def data_of_part(part):
    return [*part.cfg.DATASETS.TRAIN, *part.cfg.DATASETS.TEST]


def left_aside(part):
    return sorted(path.name for path in part.folder.parent.glob(f"{part.folder.name}.old*"))


def test_a_finished_part_of_the_same_config_stays(make):
    part = finish(make())
    before = read_record(part)
    about = {"machine", "date", "versions"}
    files = {"teacher", "MODEL.WEIGHTS", *(f"data {name}" for name in data_of_part(part))}
    assert set(before) == about | files
    claim(make("DATALOADER.NUM_WORKERS", "2", "DISTILL.TEACHER.WEIGHTS", "elsewhere.pth"))
    assert part.finished and left_aside(part) == [] and read_record(part) == before


def test_another_config_is_moved_aside_and_named(make, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("graphkd"), "propagate", True)  # a run switches it off
    part = finish(make())
    claim(make("SOLVER.BASE_LR", "0.5"))
    assert not part.finished and left_aside(part) == ["part.old1"]
    assert "SOLVER.BASE_LR was 0.001, now it is 0.5" in caplog.text
    finish(make("SOLVER.BASE_LR", "0.5"))
    claim(make())
    assert left_aside(part) == ["part.old1", "part.old2"]


def test_another_teacher_is_noticed_by_its_content(make, tmp_path):
    weights = tmp_path / "teacher.pth"
    weights.write_bytes(b"first")
    part = finish(make(teacher=weights))
    copy = tmp_path / "copy.pth"
    copy.write_bytes(b"first")
    claim(make(teacher=copy))
    assert part.finished
    weights.write_bytes(b"other")
    claim(make(teacher=weights))
    assert not part.finished and left_aside(part) == ["part.old1"]


def test_other_initial_weights_are_noticed_by_their_content(make, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("graphkd"), "propagate", True)
    weights = tmp_path / "start.pth"
    weights.write_bytes(b"first")
    part = finish(make("MODEL.WEIGHTS", str(weights)))
    claim(part)
    assert part.finished
    weights.write_bytes(b"other")
    claim(part)
    assert not part.finished and "the file of its MODEL.WEIGHTS was another" in caplog.text


def test_changed_annotations_are_noticed(make):
    part = finish(make())
    name = part.cfg.DATASETS.TEST[0]
    record = part.folder / "part.json"
    assert json.loads(record.read_text())[f"data {name}"]
    write_json(record, {**read_record(part), f"data {name}": "of another file"})
    claim(part)
    assert not part.finished and left_aside(part) == ["part.old1"]


def test_data_that_is_gone_leaves_a_finished_part_alone(make, monkeypatch):
    part = finish(make())
    monkeypatch.setattr(inputs, "source_json", lambda name: Path("gone.json"))
    claim(part)
    assert part.finished and left_aside(part) == []


def test_what_a_run_notes_on_the_way_does_not_make_it_another(make):
    part = finish(make())
    claim(make("LOG_PERIOD", "3", "SOLVER.CHECKPOINT_PERIOD", "7", "TEST.EVAL_PERIOD", "9"))
    assert part.finished and left_aside(part) == []


def test_a_key_that_came_later_counts_as_its_default(make):
    part = finish(make())
    written = yaml.safe_load((part.folder / "config.yaml").read_text())
    del written["TRUST_PICKLES"], written["SOLVER"]["CLIP_GRADIENTS"]
    (part.folder / "config.yaml").write_text(yaml.safe_dump(written))
    claim(part)
    assert part.finished


def test_a_part_that_goes_on_elsewhere_names_both_machines(make, monkeypatch):
    part = make()
    claim(part)
    here = read_record(part)["machine"]
    (part.folder / "config.yaml").write_text(part.cfg.dump())
    about = module.provenance()
    monkeypatch.setattr(module, "provenance", lambda: {**about, "machine": "a GPU box"})
    claim(part)
    assert read_record(part)["machine"] == "a GPU box"  # nothing was trained before
    (part.folder / "model_0000004.pth").touch()
    monkeypatch.undo()
    for _ in range(2):
        claim(part)
        assert read_record(part)["machine"] == f"a GPU box; then {here}"


def test_a_folder_in_use_is_not_moved(make, monkeypatch):
    monkeypatch.setattr("graphkd.io._PATIENCE", 0.2)
    part = finish(make())
    with held(part.folder), pytest.raises(UserError, match="another process works there"):
        claim(make("SOLVER.BASE_LR", "0.5"))
    assert part.finished and left_aside(part) == []


def test_a_damaged_config_is_moved_aside_and_a_lost_teacher_named(make, tmp_path):
    part = finish(make())
    (part.folder / "config.yaml").write_text("MODEL: {DEV")
    claim(part)
    assert left_aside(part) == ["part.old1"]
    with pytest.raises(UserError, match="gone.pth are gone"):
        claim(make(teacher=tmp_path / "gone.pth", name="new"))


def test_the_first_difference_of_two_configs():
    one = CfgNode({"A": {"B": 1, "C": (1, 2)}, "D": {"E": {}}})
    assert difference_of(one, {"A": {"B": 1, "C": [1, 2]}, "D": {"E": {}}}) is None
    other = {"A": {"B": 2, "C": [1]}, "D": {"E": {"F": 3}}}
    assert difference_of(one, other) == ("A.B", 1, 2)
    assert difference_of(one, other, ignore=("A",)) == ("D.E", {}, None)
    assert difference_of(one, other, ignore=("A", "D.E")) is None
