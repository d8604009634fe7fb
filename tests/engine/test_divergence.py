"""Steps that are not finite: what they leave behind, how many may pass, and with two processes."""

import json
import logging
import os
import re
from pathlib import Path

import pytest
import torch
from detectron2.utils.events import EventStorage

from graphkd.config import get_cfg
from graphkd.engine import run
from graphkd.engine.build import build_distiller, build_student
from graphkd.engine.jobs import load_run, train_teacher
from graphkd.engine.nan_guard import DivergedError, read_batch, step_problem
from graphkd.engine.state import set_rng_state
from graphkd.engine.trainer import Trainer
from graphkd.errors import UserError
from tests.engine.killed import two_processes

SHORT = ("SOLVER.MAX_ITER", "5", "TEST.EVAL_PERIOD", "0", "DATASETS.VAL", "()")


def load(path):
    return torch.load(path, map_location="cpu", weights_only=True)


def job(pair, folder, *overrides, plain=True):
    return load_run(str(pair), [*SHORT, *overrides, "OUTPUT_DIR", str(folder)], plain=plain)


def folder_of(cfg):
    return Path(cfg.OUTPUT_DIR)


def spoil_steps(patch, *, steps, what="loss"):
    """The losses (or only their gradient) of some steps are not finite, and a buffer is hurt."""
    original = Trainer._forward

    def forward(trainer, batch):
        losses, problem = original(trainer, batch)
        if trainer.iter not in steps:
            return losses, problem
        trainer.distiller.backbone.bottom_up.stem_counter.add_(float("nan"))
        if what == "gradient":
            # sqrt at 0: the value is finite, its slope is not.
            weight = next(p for p in trainer.distiller.parameters() if p.requires_grad)
            return {**losses, "loss_root": (weight * 0).sum().sqrt()}, problem
        return losses, "loss_cls is not finite"

    patch.setattr(Trainer, "_forward", forward)


@pytest.fixture
def train(pair, monkeypatch):
    """Runs a plain student with a counting buffer; `spoil` are the steps that are not finite."""
    original = build_student

    def with_counter(cfg):
        student = original(cfg)
        student.backbone.bottom_up.register_buffer("stem_counter", torch.zeros(()))
        return student

    monkeypatch.setattr("graphkd.engine.build.build_student", with_counter)

    def go(folder, *overrides, spoil=(), what="loss", resume=False):
        cfg, source = job(pair, folder, *overrides)
        with pytest.MonkeyPatch.context() as patch:
            spoil_steps(patch, steps=spoil, what=what)
            run.train(cfg, source=source, resume=resume)
        return folder_of(cfg)

    return go


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_skipped_step_leaves_weights_and_optimizer_untouched(train, tmp_path, what):
    """The run stopped just before the bad step holds what the run that skipped it holds."""
    options = ("SOLVER.CHECKPOINT_PERIOD", "1", "SOLVER.SKIP_NONFINITE", "1")
    folder = train(tmp_path / "run", *options, "SOLVER.MAX_ITER", "3", spoil={2}, what=what)
    before, after = (load(folder / f"model_000000{step}.pth") for step in (1, 2))
    assert all(torch.equal(value, after["model"][key]) for key, value in before["model"].items())
    one, other = (state["trainer"]["optimizer"]["state"] for state in (before, after))
    assert one.keys() == other.keys() and one
    for number, state in one.items():
        assert torch.equal(state["momentum_buffer"], other[number]["momentum_buffer"])
    assert after["trainer"]["skipped"] == 1 and before["trainer"]["skipped"] == 0
    lines = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    assert [line["skipped_steps"] for line in lines] == [0, 0, 1]
    log = (folder / "log.txt").read_text()
    assert re.search(
        r"step 2: .* is not finite on pages .*png; skipped \(1 of 1 allowed by SOLVER.SKIP", log
    )


def test_the_count_survives_a_resume_and_ends_the_run(train, tmp_path):
    options = ("SOLVER.CHECKPOINT_PERIOD", "1", "SOLVER.SKIP_NONFINITE", "1")
    with pytest.raises(DivergedError, match="step 3: loss_cls is not finite"):
        train(tmp_path / "run", *options, spoil={1, 3})
    folder = tmp_path / "run-plain"
    assert load(folder / "model_0000002.pth")["trainer"]["skipped"] == 1
    with pytest.raises(DivergedError, match="step 3: loss_cls is not finite"):
        train(tmp_path / "run", *options, spoil={3}, resume=True)
    # More patience needs no new run: the key is not part of what the run is.
    train(tmp_path / "run", *options[:3], "2", spoil={3}, resume=True)
    assert load(folder / "model_final.pth")["trainer"]["skipped"] == 2


def test_by_default_the_first_one_stops_the_run_and_leaves_its_beginning(train, tmp_path):
    """Period 100: the only checkpoint is the one of the stop, and it is as if nothing was."""
    assert get_cfg().SOLVER.SKIP_NONFINITE == 0
    with pytest.raises(DivergedError, match=r"weights from before the step in model_0000002.pth"):
        train(tmp_path / "run", "SOLVER.CHECKPOINT_PERIOD", "100", spoil={3})
    folder = tmp_path / "run-plain"
    assert [path.name for path in folder.glob("model_*")] == ["model_0000002.pth"]
    train(tmp_path / "run", "SOLVER.CHECKPOINT_PERIOD", "100", resume=True)
    whole = train(tmp_path / "whole", "SOLVER.CHECKPOINT_PERIOD", "100")
    one, other = load(folder / "model_final.pth"), load(whole / "model_final.pth")
    assert all(torch.equal(value, other["model"][key]) for key, value in one["model"].items())


class Rooted(torch.nn.Module):
    """One weight; in the first `bad` steps its slope is not finite, the loss is."""

    def __init__(self, bad):
        super().__init__()
        self.weight, self.bad, self.steps = torch.nn.Parameter(torch.ones(1)), bad, 0

    def forward(self, batch):
        self.steps += 1
        loss = self.weight.sum()
        return {"loss": loss + (self.weight * 0).sum().sqrt() if self.steps <= self.bad else loss}


def half_precision_steps(tmp_path, *, bad, steps, patience=0):
    """The model and the trainer after `steps` steps in float16."""
    model = Rooted(bad)
    trainer = Trainer(
        model,
        torch.optim.SGD(model.parameters(), lr=0.1),
        device=torch.device("cpu"),
        amp=torch.float16,
        output_dir=tmp_path,
        skip_nonfinite=patience,
    )
    trainer.set_loader([[{"image_id": 1, "image": torch.zeros(3, 4, 4)}]] * steps)
    with EventStorage(0) as trainer.storage:
        for trainer.iter in range(steps):
            trainer.run_step()
    return model, trainer


def test_gradients_that_float16_makes_infinite_cost_a_step_each(tmp_path):
    model, trainer = half_precision_steps(tmp_path, bad=3, steps=5)
    assert model.weight.item() == pytest.approx(1 - 2 * 0.1)
    assert trainer.scaler.get_scale() == 2**13 and trainer.skipped == 0


def test_a_gradient_that_no_scale_makes_finite_stops_a_float16_run(tmp_path):
    with pytest.raises(DivergedError, match="step 16: the gradient of weight is not finite"):
        half_precision_steps(tmp_path, bad=100, steps=100)
    model, trainer = half_precision_steps(tmp_path, bad=18, steps=20, patience=2)
    assert trainer.skipped == 2 and model.weight.item() == pytest.approx(1 - 2 * 0.1)


def test_weights_that_are_not_finite_are_never_saved(pair, tmp_path, monkeypatch):
    original = Trainer._log

    def spoil(trainer, *args):
        original(trainer, *args)
        if trainer.iter == 1:
            next(trainer.model.parameters()).data.flatten()[0] = float("nan")

    monkeypatch.setattr(Trainer, "_log", spoil)
    cfg, source = job(pair, tmp_path / "run", "SOLVER.CHECKPOINT_PERIOD", "1")
    with pytest.raises(
        DivergedError, match="step 1: the weights are not finite and were not saved"
    ):
        run.train(cfg, source=source)
    assert [path.name for path in folder_of(cfg).glob("model_*")] == ["model_0000000.pth"]


def test_the_batch_of_a_diverged_run_replays_to_the_same_loss(pair, tmp_path):
    cfg, source = load_run(str(pair), [])
    train_teacher(cfg, source=source)
    # The ramp's factor is 0 in step 0 and then grows beyond the floats.
    big = ("DISTILL.LOSSES.graphkd.WEIGHT", "1.0e+39", "DISTILL.RAMP", "2")
    cfg, source = job(pair, tmp_path / "run", *big, plain=False)
    with pytest.raises(DivergedError, match=r"step (\d): (loss_kd_\S*).* on pages .*png") as caught:
        run.train(cfg, source=source)
    step = int(re.search(r"step (\d)", str(caught.value))[1])
    named = set(re.findall(r"loss_kd_\w+", str(caught.value)))
    stored = load(tmp_path / "run" / f"diverged_batch_{step:07d}.pth")
    assert stored["step"] == step and all("png" in page["file_name"] for page in stored["pages"])

    batch, rng = read_batch(tmp_path / "run" / f"diverged_batch_{step:07d}.pth")
    student = build_student(cfg)
    distiller = build_distiller(cfg, student, source=source)
    if step:
        kept = load(tmp_path / "run" / f"model_{step - 1:07d}.pth")
        student.load_state_dict(kept["model"])
        distiller.losses.load_state_dict(kept["distill"])
        assert kept["trainer"]["iteration"] == step - 1
    else:
        run.seed_all_rng(cfg.SEED)
        student = build_student(cfg)
        distiller = build_distiller(cfg, student, source=source)
    set_rng_state(rng)
    distiller.train().iteration = step
    with EventStorage(step):
        losses = distiller(batch)
    assert {key for key, value in losses.items() if not torch.isfinite(value)} == named


def test_another_file_is_no_batch(tmp_path):
    torch.save({"model": {}}, tmp_path / "a.pth")
    with pytest.raises(UserError, match="not a batch"):
        read_batch(tmp_path / "a.pth")


def test_a_gradient_is_named_by_its_parameter():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    losses = {"a": torch.tensor(1.0), "b": torch.tensor(2.0)}
    assert step_problem(losses, model) is None
    for parameter in model.parameters():
        # The square of a large finite gradient overflows.
        parameter.grad = torch.full_like(parameter, 1e30)
    assert step_problem(losses, model) is None
    for bad in ("inf", "nan"):
        model[1].weight.grad[0, 1] = float(bad)
        assert step_problem(losses, model) == "the gradient of 1.weight is not finite"
        assert step_problem(losses, model, gradients=False) is None
    losses["b"] = torch.tensor(float("nan"))
    assert step_problem(losses, model) == "b is not finite"


def spoil_second_process(spoiled: str) -> None:
    """From now on step 2 of the second process has boxes or a loss that are not finite."""
    original = Trainer._forward

    def forward(trainer, batch):
        if trainer.iter == 2 and os.environ["RANK"] == "1":
            if spoiled == "student":

                def broken(*args):
                    del trainer.distiller.student.proposal_generator.forward
                    raise FloatingPointError("Predicted boxes or scores contain Inf/NaN.")

                trainer.distiller.student.proposal_generator.forward = broken
            else:
                losses, _ = original(trainer, batch)
                return losses, "loss_cls is not finite"
        return original(trainer, batch)

    Trainer._forward = forward


@pytest.mark.parametrize(("spoil", "patience"), [("student", "1"), ("loss", "0")])
def test_two_processes_skip_and_stop_together(pair, tmp_path, spoil, patience):
    """Only the second process's step is bad; with graphkd's losses they also sum over both."""
    cfg, source = load_run(str(pair), [])
    train_teacher(cfg, source=source)
    keys = ["DATASETS.VAL", "()", "SOLVER.MAX_ITER", "4", "SOLVER.SKIP_NONFINITE", patience]
    folder = tmp_path / "run"
    done = two_processes(
        ["train", str(pair), *keys, "OUTPUT_DIR", str(folder)],
        tmp_path,
        trouble=lambda: spoil_second_process(spoil),
    )
    codes = [code for code, _ in done]
    said = [line for _, lines in done for line in lines]
    state = load(folder / ("model_final.pth" if patience == "1" else "model_0000001.pth"))
    if patience == "1":
        assert codes == [0, 0], said
        assert state["trainer"]["skipped"] == 1
        log = (folder / "log.txt").read_text()
        assert re.search(r"step 2: .* on pages .*; skipped \(1 of", log)
    else:
        assert codes == [2, 2], said
        assert "".join(said).count("step 2: loss_cls is not finite on pages") == 2
        assert (folder / "diverged_batch_0000002_1.pth").is_file()
        assert not (folder / "diverged_batch_0000002.pth").exists()


@pytest.fixture(autouse=True)
def loggers_as_before():
    """Runs set handlers; other tests read this project's warnings."""
    yield
    logging.getLogger("graphkd").propagate = True
