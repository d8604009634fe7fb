"""A folder belongs to one config, teacher and data; another run in it is moved away or refused."""

import json
import logging
from pathlib import Path

import pytest
import yaml
from detectron2.config import CfgNode

from graphkd.engine import run_dir
from graphkd.engine.jobs import load_run
from graphkd.engine.run_dir import RunDir, RunResult, difference_of
from graphkd.errors import UserError
from graphkd.io import held, write_json


class Part:
    """The pair's run in a folder."""

    def __init__(self, cfg, source, teacher):
        self.cfg, self.source, self.teacher = cfg, source, teacher
        self.place = RunDir(cfg.OUTPUT_DIR)

    @property
    def finished(self):
        return self.place.finished

    @property
    def folder(self):
        return self.place.folder

    def claim(self):
        self.place.keep_only(self.cfg, teacher=self.teacher)

    def begin(self, *, resume=True):
        with self.place.taken(self.cfg, source=self.source, resume=resume, teacher=self.teacher):
            pass


@pytest.fixture
def make(pair, tmp_path):
    """Builds the pair's run in a folder, with overrides."""

    def part(*overrides, teacher=None, name="part"):
        cfg, source = load_run(str(pair), [*overrides, "OUTPUT_DIR", str(tmp_path / name)])
        return Part(cfg, source, teacher)

    return part


def finish(part):
    """Leaves what a finished run leaves."""
    part.claim()
    part.begin()
    part.place.weights.touch()
    part.place.write_result(RunResult(part.place.weights, {}, 0.0, 0))
    return part


def data_of_part(part):
    return [*part.cfg.DATASETS.TRAIN, *part.cfg.DATASETS.TEST]


def left_aside(part):
    return sorted(path.name for path in part.folder.parent.glob(f"{part.folder.name}.old*"))


def test_a_finished_part_of_the_same_config_stays(make):
    part = finish(make())
    before = part.place.about()
    about = {"source", "machine", "date", "versions", "number format"}
    files = {"teacher", "MODEL.WEIGHTS", *(f"data {name}" for name in data_of_part(part))}
    assert set(before) == about | files
    make("DATALOADER.NUM_WORKERS", "2", "DISTILL.TEACHER.WEIGHTS", "elsewhere.pth").claim()
    assert part.finished and left_aside(part) == [] and part.place.about() == before


def test_another_config_is_moved_aside_and_named(make, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("graphkd"), "propagate", True)  # a run switches it off
    part = finish(make())
    make("SOLVER.BASE_LR", "0.5").claim()
    assert not part.finished and left_aside(part) == ["part.old1"]
    assert "SOLVER.BASE_LR was 0.001, now it is 0.5" in caplog.text
    finish(make("SOLVER.BASE_LR", "0.5"))
    make().claim()
    assert left_aside(part) == ["part.old1", "part.old2"]


def test_another_teacher_is_noticed_by_its_content(make, tmp_path):
    weights = tmp_path / "teacher.pth"
    weights.write_bytes(b"first")
    part = finish(make(teacher=weights))
    copy = tmp_path / "copy.pth"
    copy.write_bytes(b"first")
    make(teacher=copy).claim()
    assert part.finished
    weights.write_bytes(b"other")
    make(teacher=weights).claim()
    assert not part.finished and left_aside(part) == ["part.old1"]


def test_other_initial_weights_are_noticed_by_their_content(make, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("graphkd"), "propagate", True)
    weights = tmp_path / "start.pth"
    weights.write_bytes(b"first")
    part = finish(make("MODEL.WEIGHTS", str(weights)))
    part.claim()
    assert part.finished
    weights.write_bytes(b"other")
    part.claim()
    assert not part.finished and "the content of its MODEL.WEIGHTS file differs" in caplog.text


def test_changed_annotations_are_noticed(make):
    part = finish(make())
    name = part.cfg.DATASETS.TEST[0]
    record = part.folder / "about.json"
    assert json.loads(record.read_text())[f"data {name}"]
    write_json(record, {**part.place.about(), f"data {name}": "of another file"})
    part.claim()
    assert not part.finished and left_aside(part) == ["part.old1"]


def test_data_that_is_gone_leaves_a_finished_part_alone(make, monkeypatch):
    part = finish(make())
    monkeypatch.setattr(run_dir, "source_json", lambda name: Path("gone.json"))
    part.claim()
    assert part.finished and left_aside(part) == []


def test_what_a_run_notes_on_the_way_does_not_make_it_another(make):
    part = finish(make())
    make("LOG_PERIOD", "3", "SOLVER.CHECKPOINT_PERIOD", "7", "TEST.EVAL_PERIOD", "9").claim()
    assert part.finished and left_aside(part) == []


def test_a_key_that_came_later_counts_as_its_default(make):
    part = finish(make())
    written = yaml.safe_load((part.folder / "config.yaml").read_text())
    del written["TRUST_PICKLES"], written["SOLVER"]["CLIP_GRADIENTS"]
    (part.folder / "config.yaml").write_text(yaml.safe_dump(written))
    part.claim()
    assert part.finished


def test_a_run_that_goes_on_elsewhere_names_both_machines_and_formats(make, monkeypatch):
    part = make()
    part.begin()
    here = part.place.about()["machine"]
    about = run_dir.provenance()
    monkeypatch.setattr(run_dir, "provenance", lambda: {**about, "machine": "a GPU box"})
    monkeypatch.setattr(run_dir, "number_format", lambda _: "bfloat16")
    part.begin()
    assert part.place.about()["machine"] == "a GPU box"  # nothing was trained before
    (part.folder / "model_0000004.pth").touch()
    monkeypatch.undo()
    for _ in range(2):
        part.begin()
        assert part.place.about()["machine"] == f"a GPU box; then {here}"
        assert part.place.about()["number format"] == "bfloat16; then float32"


def test_the_number_format_is_the_one_this_machine_computes_in(make, monkeypatch):
    native = ("SOLVER.AMP.ENABLED", "True", "SOLVER.AMP.DTYPE", "native")
    for has, name in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr("graphkd.engine.solver.has_native_bfloat16", lambda _, has=has: has)
        part = make(*native, name=name)
        part.begin()
        assert part.place.about()["number format"] == name


def test_the_two_records_of_earlier_versions_are_read_and_become_one(make):
    part = finish(make())
    about = part.place.about()
    digests = {key: about[key] for key in about if key.startswith("data ")}
    write_json(part.folder / "about.json", {"source": "a.yaml", "machine": "x86_64"})
    old = {"machine": "a GPU box", "date": "2025-01-01", "versions": "old"}
    write_json(part.folder / "part.json", {**old, **digests})
    part.claim()
    assert part.finished and part.place.about() == {"source": "a.yaml", **old, **digests}
    (part.folder / "result.json").unlink()
    part.begin()
    assert part.place.about()["machine"] == f"a GPU box; then {about['machine']}"
    assert not (part.folder / "part.json").exists()


def test_an_unfinished_file_of_a_killed_run_goes(make):
    part = make()
    part.begin()
    (part.folder / ".123.tmp").touch()
    part.begin()
    assert sorted(path.name for path in part.folder.iterdir()) == ["about.json", "config.yaml"]


def test_a_file_in_the_place_of_the_folder_is_one_line(make, tmp_path):
    (tmp_path / "part").write_text("")
    with pytest.raises(UserError, match="part: it is a file; set another OUTPUT_DIR"):
        make().begin()


def test_a_folder_in_use_is_not_moved(make, monkeypatch):
    monkeypatch.setattr("graphkd.io._PATIENCE", 0.2)
    part = finish(make())
    with held(part.folder), pytest.raises(UserError, match="another process works there"):
        make("SOLVER.BASE_LR", "0.5").claim()
    assert part.finished and left_aside(part) == []


def test_a_damaged_config_is_moved_aside_and_a_lost_teacher_named(make, tmp_path):
    part = finish(make())
    (part.folder / "config.yaml").write_text("MODEL: {DEV")
    part.claim()
    assert left_aside(part) == ["part.old1"]
    with pytest.raises(UserError, match="gone.pth are gone"):
        make(teacher=tmp_path / "gone.pth", name="new").claim()


def test_the_first_difference_of_two_configs():
    one = CfgNode({"A": {"B": 1, "C": (1, 2)}, "D": {"E": {}}})
    assert difference_of(one, {"A": {"B": 1, "C": [1, 2]}, "D": {"E": {}}}) is None
    other = {"A": {"B": 2, "C": [1]}, "D": {"E": {"F": 3}}}
    assert difference_of(one, other) == ("A.B", 1, 2)
    assert difference_of(one, other, ignore=("A",)) == ("D.E.F", None, 3)
    assert difference_of(one, other, ignore=("A", "D.E")) is None
