"""Finding and reading of configs, and `--data`."""

import pytest
import yaml
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances

from graphkd.config import find_config, is_config, load_cfg
from graphkd.distill.run_teacher import load_teacher_cfg
from graphkd.errors import UserError
from tests.own_data import write_coco
from tests.small import small_cfg


def content(cfg):
    return yaml.safe_load(cfg.dump())


def write(path, text):
    path.write_text(text)
    return path


def test_bases_are_merged_in_order(tmp_path):
    write(tmp_path / "a.yaml", "SOLVER: {MAX_ITER: 1, BASE_LR: 0.5}")
    write(tmp_path / "b.yaml", "SOLVER: {MAX_ITER: 2}")
    cfg = load_cfg(write(tmp_path / "run.yaml", '_BASE_: ["a.yaml", "b.yaml"]'), ["SEED", "7"])
    assert (cfg.SOLVER.MAX_ITER, cfg.SOLVER.BASE_LR, cfg.SEED) == (2, 0.5, 7)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "run.yaml"),
        ("SOLVER: [", "run.yaml"),
        ("SOLVER: {NO_SUCH: 1}", "NO_SUCH"),
        ("SOLVER: {MAX_ITER: many}", "many"),
        ('_BASE_: "missing.yaml"', "missing.yaml"),
        ("- a list", "run.yaml"),
    ],
)
def test_a_wrong_yaml_is_a_users_mistake(tmp_path, text, problem):
    with pytest.raises(UserError, match=problem):
        load_cfg(write(tmp_path / "run.yaml", text))


def test_a_config_is_found_from_elsewhere(tmp_path, monkeypatch, root):
    monkeypatch.chdir(tmp_path)
    assert find_config("configs/R50-R18.yaml") == root / "configs" / "R50-R18.yaml"
    write(tmp_path / "near.yaml", "")
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    assert find_config("near.yaml", near=tmp_path / "a" / "b" / "run.yaml").samefile(
        tmp_path / "near.yaml"
    )


@pytest.mark.parametrize("name", ["R50-R18", "configs/R50-R18", "R50-R18.yaml"])
def test_a_config_of_the_package_is_found_by_name(tmp_path, monkeypatch, root, name):
    monkeypatch.chdir(tmp_path)
    assert find_config(name).samefile(root / "configs" / "R50-R18.yaml")
    assert is_config(name.removeprefix("configs/")) and not is_config("SOLVER.MAX_ITER")


def test_the_users_own_file_comes_before_one_of_the_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    own = write(tmp_path / "configs" / "R50-R18.yaml", "")
    assert find_config("configs/R50-R18.yaml").samefile(own)


@pytest.mark.parametrize(
    ("name", "hint"), [("R18-MNv4s", "tiny/R18-MNv4s"), ("R50-R81", "R50-R18"), ("xyz", "file$")]
)
def test_a_wrong_name_is_answered_with_similar_ones(name, hint):
    with pytest.raises(UserError, match=f"{name}: no such config file.*{hint}|{name}.*{hint}"):
        find_config(name)


def test_runs_lie_in_the_project_and_what_is_named_lies_where_the_user_stands(
    tmp_path, monkeypatch
):
    home, here = tmp_path / "clone", tmp_path / "here"
    for folder in (home / "output", here):
        folder.mkdir(parents=True)
    for folder in (home, here):
        write(folder / "both.pth", "")
    weights = write(home / "output" / "w.pth", "")
    monkeypatch.chdir(here)
    assert load_cfg("R50-R18").OUTPUT_DIR == "output/R50-R18"
    monkeypatch.setenv("GRAPHKD_HOME", str(home))
    assert load_cfg("R50-R18").OUTPUT_DIR == str(home / "output/R50-R18")
    assert load_cfg("R50-R18", ["OUTPUT_DIR", "mine"]).OUTPUT_DIR == "mine"
    for key, name in (("MODEL", "output/w.pth"), ("DISTILL.TEACHER", "both.pth")):
        cfg = load_cfg("R50-R18", [f"{key}.WEIGHTS", name])
        found = cfg.MODEL.WEIGHTS or cfg.DISTILL.TEACHER.WEIGHTS
        assert found == (str(weights) if key == "MODEL" else name)
    monkeypatch.chdir(home)
    assert load_cfg("R50-R18").OUTPUT_DIR == "output/R50-R18"


def test_a_key_of_an_earlier_version_is_read_where_it_changes_nothing(tmp_path):
    old = load_cfg("R50-R18").dump().replace("TEACHER:\n", "TEACHER:\n    SCALE: 1.0\n")
    assert content(load_cfg(write(tmp_path / "config.yaml", old))) == content(load_cfg("R50-R18"))
    path = write(tmp_path / "config.yaml", old.replace("SCALE: 1.0", "SCALE: 2.0"))
    with pytest.raises(UserError, match="config.yaml: .*DISTILL.TEACHER.SCALE"):
        load_cfg(path)


def test_own_data_needs_no_yaml(own_data):
    plain = load_cfg("tiny/R18-MNv4s")
    cfg = load_cfg("tiny/R18-MNv4s", ["DATASETS.NAME", "graphkd_test", "SOLVER.MAX_ITER", "7"])
    assert cfg.DATASETS.TRAIN == (own_data["train"],) and cfg.DATASETS.TEST == (own_data["test"],)
    assert cfg.MODEL.ROI_HEADS.NUM_CLASSES == cfg.MODEL.RETINANET.NUM_CLASSES == 2
    assert (cfg.SOLVER.MAX_ITER, cfg.SOLVER.BASE_LR) == (7, plain.SOLVER.BASE_LR)
    assert cfg.INPUT == plain.INPUT and cfg.OUTPUT_DIR == "output/tiny/graphkd_test/R18-MNv4s"
    # The anchors of the tiny students, not those for the generated pages.
    assert cfg.MODEL.ANCHOR_GENERATOR == small_cfg("rcnn_tiny_MNv4s").MODEL.ANCHOR_GENERATOR
    teacher = load_teacher_cfg(cfg, source=find_config("tiny/R18-MNv4s"))
    assert teacher.DATASETS == cfg.DATASETS and teacher.MODEL.ROI_HEADS.NUM_CLASSES == 2


def test_a_single_set_is_trained_on_and_scored(own_data):
    cfg = load_cfg("R50-R18", ["DATASETS.NAME", own_data["train"]])
    assert cfg.DATASETS.TRAIN == cfg.DATASETS.TEST == (own_data["train"],)


def test_names_of_register_with_a_val_json_are_a_data_set(tmp_path):
    for number, name in enumerate(("books", "books_val")):
        folder = tmp_path / name
        json_file = write_coco(folder, 2, number)
        register_coco_instances(name, {}, str(json_file), str(folder / "images"))
    try:
        cfg = load_cfg("R50-R18", ["DATASETS.NAME", "books"])
        found = (cfg.DATASETS.TRAIN, cfg.DATASETS.VAL, cfg.DATASETS.TEST)
        assert found == (("books",), ("books_val",), ("books_val",))
    finally:
        for name in ("books", "books_val"):
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)


def test_data_is_put_under_yamls_without_parts_of_ours(own_data, tmp_path):
    text = 'DATASETS: {TRAIN: ["a"], TEST: ["b"]}\nMODEL: {ROI_HEADS: {NUM_CLASSES: 80}}'
    cfg = load_cfg(write(tmp_path / "run.yaml", text), ["DATASETS.NAME", "graphkd_test"])
    assert cfg.DATASETS.TRAIN == (own_data["train"],) and cfg.MODEL.ROI_HEADS.NUM_CLASSES == 2
    assert cfg.OUTPUT_DIR == "output/graphkd_test"


def test_own_yamls_build_on_those_of_the_package(tmp_path):
    text = '_BASE_: ["configs/students/rcnn_R18.yaml", "configs/methods/proposals.yaml"]'
    cfg = load_cfg(write(tmp_path / "run.yaml", text))
    assert cfg.MODEL.RESNETS.DEPTH == 18 and "proposals" in cfg.DISTILL.LOSSES


def test_a_project_brings_data_sets_and_schedules_of_its_own(own_data, tmp_path):
    for name in ("datasets", "schedules", "pairs"):
        (tmp_path / name).mkdir()
    data = f'DATASETS: {{TRAIN: ["{own_data["train"]}"], VAL: [], TEST: ["{own_data["test"]}"]}}'
    write(tmp_path / "datasets" / "base.yaml", "INPUT: {MIN_SIZE_TEST: 111, MAX_SIZE_TEST: 333}")
    write(tmp_path / "datasets" / "other.yaml", "INPUT: {MIN_SIZE_TEST: 222, MAX_SIZE_TEST: 444}")
    named = f'_BASE_: "base.yaml"\n{data}\nSCHEDULES: {{short: long}}'
    write(tmp_path / "datasets" / "lines.yaml", named)
    write(tmp_path / "schedules" / "short.yaml", "SOLVER: {MAX_ITER: 10}")
    write(tmp_path / "schedules" / "long.yaml", "SOLVER: {MAX_ITER: 20}")
    bases = '_BASE_: ["../datasets/other.yaml", "../schedules/short.yaml"]'
    run = write(tmp_path / "pairs" / "run.yaml", f"{bases}\nINPUT: {{MAX_SIZE_TEST: 999}}")
    cfg = load_cfg(run, ["DATASETS.NAME", "lines"])
    assert (cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST) == (111, 999)
    assert (cfg.SOLVER.MAX_ITER, load_cfg(run).SOLVER.MAX_ITER) == (20, 10)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("primma", "--data primma: no such data set; did you mean prima"),
        ("graphkd_tset", "did you mean graphkd_test"),
        ("xyz", "known are coco, doclaynet, hj, pages"),
    ],
)
def test_an_unknown_data_set_is_one_line(own_data, name, message):
    with pytest.raises(UserError, match=message) as caught:
        load_cfg("R50-R18", ["DATASETS.NAME", name])
    assert "\n" not in str(caught.value)


def test_a_yaml_does_not_name_its_data_without_effect(tmp_path, root):
    text = f'_BASE_: "{root}/configs/R50-R18.yaml"\nDATASETS: {{NAME: "prima"}}'
    with pytest.raises(UserError, match="train with --data NAME"):
        load_cfg(write(tmp_path / "run.yaml", text))
    # The config.yaml of a run is complete: there it is a record.
    cfg = load_cfg("R50-R18", ["DATASETS.NAME", "prima", "SOLVER.MAX_ITER", "5"])
    assert content(load_cfg(write(tmp_path / "config.yaml", cfg.dump()))) == content(cfg)
