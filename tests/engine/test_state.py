"""What forward passes change beside the weights is undone, resumed and shared."""

import json

import pytest
import torch
from detectron2.utils.events import EventStorage

from graphkd.distill.losses.mgd import MGD
from graphkd.engine import run
from graphkd.engine.jobs import load_run
from graphkd.engine.state import BeforeStep, process_state, set_process_state
from tests.distill.losses.conftest import context, outputs, targets
from tests.small import CONFIGS, page, small_model

WIDTH = ("MODEL.FPN.OUT_CHANNELS", "16")


def step(model, seed):
    with EventStorage(0):
        losses = model([page(3, seed=seed), page(2, seed=seed + 50)])
    return {key: float(value.detach()) for key, value in losses.items()}


@pytest.fixture
def retina():
    return small_model("retinanet_MNv2", *WIDTH, "MODEL.RETINANET.NUM_CLASSES", "5").train()


def test_a_new_retinanet_has_no_normaliser_and_gets_one_by_training(retina):
    assert process_state(retina)["normalizers"] == {}
    step(retina, 1)
    (value,) = process_state(retina)["normalizers"].values()
    assert 0 < value < 100


def test_a_step_undone_gives_the_same_losses_again(retina):
    step(retina, 1)
    before = BeforeStep(retina)
    before.take()
    first = step(retina, 2)
    assert step(retina, 2) != first
    before.restore()
    torch.set_rng_state(before.rng["cpu"])
    assert step(retina, 2) == first


def test_undoing_the_first_step_leaves_no_normaliser(retina):
    before = BeforeStep(retina)
    before.take()
    step(retina, 1)
    before.restore()
    assert process_state(retina)["normalizers"] == {}


def test_a_normaliser_of_a_wrapped_detector_is_found(retina):
    step(retina, 1)
    around = torch.nn.Sequential(retina)
    state = process_state(around)
    assert list(state["normalizers"]) == ["0"]
    set_process_state(around, {**state, "normalizers": {"0": 7.0}})
    assert retina.loss_normalizer == 7.0


def test_a_step_undone_draws_the_same_masks_again():
    loss, batch = MGD(context()), (outputs(1), outputs(2), targets())
    before = BeforeStep(loss)
    before.take()
    first = loss(*batch)["features"]
    before.restore()
    assert loss(*batch)["features"] == first


def test_an_interrupted_retinanet_goes_on_as_if_nothing_had_been(pair, tmp_path):
    base, config = CONFIGS / "students" / "retinanet_MNv2.yaml", tmp_path / "retina.yaml"
    own = (pair.parent / "teacher.yaml").read_text().split("\n", 1)[1]
    config.write_text(f'_BASE_: "{base}"\n{own}')

    def train(folder, *, resume=False):
        overrides = ["MODEL.RETINANET.NUM_CLASSES", "2", "OUTPUT_DIR", str(tmp_path / folder)]
        cfg, source = load_run(str(config), overrides)
        return run.train(cfg, source=source, resume=resume).weights

    whole = torch.load(train("whole"), weights_only=True)
    train("cut")
    for name in ("model_final.pth", "model_0000005.pth", "result.json"):
        (tmp_path / "cut" / name).unlink()
    again = torch.load(train("cut", resume=True), weights_only=True)
    assert all(torch.equal(value, again["model"][key]) for key, value in whole["model"].items())
    (own,), (other,) = (each["trainer"]["processes"] for each in (again, whole))
    assert own["normalizers"] == other["normalizers"] != {}
    first, second = (losses_of(tmp_path / name) for name in ("whole", "cut"))
    assert first == second and len(first) == 6


def losses_of(folder):
    rows = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    return {row["iteration"]: row["total_loss"] for row in rows if "total_loss" in row}
