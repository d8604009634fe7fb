"""Methods of a comparison: their names, their configs, and what may not differ."""

import json

import pytest
import yaml

from graphkd.compare.plan import contest_of
from graphkd.errors import UserError
from tests.lines_data import CONFIGS


@pytest.fixture(autouse=True)
def at_the_root(root, monkeypatch):
    monkeypatch.chdir(root)


@pytest.fixture
def variant(pair, tmp_path, root):
    """Writes a run yaml like the pair's with another method and further keys."""

    def write(name, method, extra=""):
        text = yaml.safe_load(pair.read_text())
        text["_BASE_"] = [text["_BASE_"][0], f"{root}/configs/methods/{method}.yaml"]
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(text) + extra)
        return str(path)

    return write


def contest(*configs, overrides=(), methods=None, out="out"):
    return contest_of([str(c) for c in configs], list(overrides), methods=methods, out=out)


def test_runs_are_named_after_their_losses_or_files(pair, variant):
    assert list(contest(pair, variant("a", "fitnets")).methods) == ["graphkd", "fitnets"]
    same = contest(pair, variant("a", "graphkd_euclidean"), variant("b", "fitnets"))
    assert list(same.methods) == ["run", "a", "fitnets"]
    assert same.methods["a"].DISTILL.LOSSES.graphkd.DISTANCE == "euclidean"


@pytest.fixture()
def text_run():
    return CONFIGS / "tiny" / "MV3-DB.yaml"


def test_methods_replace_the_losses_and_stack(pair):
    found = contest(pair, methods=["fitnets", "graphkd+logits"]).methods
    assert {name: list(cfg.DISTILL.LOSSES) for name, cfg in found.items()} == {
        "fitnets": ["fitnets"],
        "graphkd+logits": ["graphkd", "logits"],
    }
    base = contest(pair).cfg
    assert found["graphkd+logits"].DISTILL.LOSSES.graphkd == base.DISTILL.LOSSES.graphkd
    assert found["fitnets"].SOLVER == base.SOLVER


def test_a_method_brings_its_peers(text_run):
    found = contest(text_run, methods=["st", "dml", "st+dml"])
    peers = {name: cfg.DISTILL.PEERS for name, cfg in found.methods.items()}
    assert peers == {"st": 1, "dml": 2, "st+dml": 2}
    assert found.part("plain", 1).cfg.DISTILL.PEERS == 1


def test_self_distillation_alone_needs_no_teacher(text_run):
    alone = contest(text_run, methods=["sdet", "dsn", "dml"])
    assert alone.teacher_weights is None and not alone.cfg.DISTILL.TEACHER.CONFIG
    assert contest(text_run, methods=["sdet", "st"]).teacher_weights is not None


def test_an_onnx_teacher_is_a_file(text_run, tmp_path):
    (tmp_path / "teacher.onnx").touch()
    keys = ["DISTILL.TEACHER.CONFIG", "", "DISTILL.TEACHER.ONNX"]
    found = contest(text_run, methods=["st"], overrides=[*keys, str(tmp_path / "teacher.onnx")])
    assert found.part("st", 1).teacher == tmp_path / "teacher.onnx"
    with pytest.raises(UserError, match="there is no file"):
        contest(text_run, methods=["st"], overrides=[*keys, "none.onnx"]).part("st", 1)


def test_an_option_of_a_loss_goes_where_the_loss_is(pair):
    key = "DISTILL.LOSSES.fitnets.WEIGHT"
    found = contest(pair, methods=["fitnets", "logits"], overrides=[key, "7.0", "SEED", "4"])
    assert found.methods["fitnets"].DISTILL.LOSSES.fitnets.WEIGHT == 7.0
    assert found.first_seed == 4
    with pytest.raises(UserError, match="no method here has the loss fitnets"):
        contest(pair, overrides=[key, "7.0"])
    with pytest.raises(UserError, match="WEIHGT"):
        contest(pair, overrides=["DISTILL.LOSSES.graphkd.WEIHGT", "7.0"])


@pytest.mark.parametrize(
    ("extra", "key"),
    [
        ("SOLVER: {MAX_ITER: 9}", "SOLVER.MAX_ITER is 9, but 6"),
        ("INPUT: {MIN_SIZE_TRAIN: [64]}", "INPUT.MIN_SIZE_TRAIN is .64., but .96."),
        ("MODEL: {FPN: {OUT_CHANNELS: 24}}", "MODEL.FPN.OUT_CHANNELS is 24, but 16"),
        ("DISTILL: {TEACHER: {COMPILE: True}}", "DISTILL.TEACHER.COMPILE is True, but False"),
    ],
)
def test_runs_may_differ_in_the_method_alone(pair, variant, tmp_path, extra, key):
    base = variant("base", "fitnets")
    other = tmp_path / "other.yaml"
    other.write_text(f"_BASE_: {json.dumps(base)}\n{extra}\n")
    with pytest.raises(UserError, match=f"other.yaml: {key} in .*run.yaml"):
        contest(pair, other)


def test_the_same_key_for_all_settles_a_difference(pair, variant):
    other = variant("other", "fitnets", extra="VIS_PERIOD: 7\n")
    found = contest(pair, other, overrides=["VIS_PERIOD", "0"])
    assert {cfg.VIS_PERIOD for cfg in found.methods.values()} == {0}


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        (["no_such"], "configs/methods/no_such.yaml: no such config file"),
        (["fitnets", "fitnets"], "two methods are called fitnets"),
        (["graphkd+graphkd_euclidean"], "DISTILL.LOSSES.graphkd comes twice"),
    ],
)
def test_wrong_methods_are_named(pair, methods, message):
    with pytest.raises(UserError, match=message):
        contest(pair, methods=methods)


def test_one_config_for_methods_and_losses_in_each_config(pair, tmp_path):
    with pytest.raises(UserError, match="exactly one CONFIG"):
        contest(pair, pair, methods=["fitnets"])
    with pytest.raises(UserError, match="two methods are called run"):
        contest(pair, pair)
    with pytest.raises(UserError, match="teacher.yaml: DISTILL.LOSSES is empty"):
        contest(pair.parent / "teacher.yaml")
    with pytest.raises(UserError, match="KEY VALUE pairs"):
        contest(pair, overrides=["SEED"])


def test_the_parts_of_a_seed_share_everything_but_the_method(pair, tmp_path):
    found = contest(pair, methods=["fitnets"], out=tmp_path, overrides=["SOLVER.STEPS", "(4, 5)"])
    plain, method = found.part("plain", 3), found.part("fitnets", 3)
    assert plain.folder == tmp_path / "seed3" / "plain"
    assert method.teacher == pair.parent / "teacher" / "model_final.pth"
    assert not plain.cfg.DISTILL.LOSSES and plain.teacher is None
    for node in ("MODEL", "SOLVER", "INPUT", "DATASETS", "DATALOADER", "SEED"):
        assert getattr(plain.cfg, node) == getattr(method.cfg, node)
    short = found.part("plain", 3, stretch=0.5).cfg.SOLVER
    assert (short.MAX_ITER, short.STEPS) == (3, (2,))  # 4 and 5 of 6 steps both become 2
    longer = found.part("plain-same-time", 3, stretch=2.0).cfg.SOLVER
    assert (longer.MAX_ITER, longer.STEPS) == (12, (8, 10))
    assert longer.WARMUP_ITERS == plain.cfg.SOLVER.WARMUP_ITERS
