"""One run: trains the model of a config, evaluates it, and writes weights and scores."""

import contextlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.engine import HookBase, hooks
from detectron2.solver import build_lr_scheduler
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from detectron2.utils.events import CommonMetricPrinter, JSONWriter, TensorboardXWriter
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from graphkd.checkpoint import RunCheckpointer, stored_calibration
from graphkd.data.catalog import register_all
from graphkd.data.loader import build_train_loader
from graphkd.distill.average import RunningAverage
from graphkd.distill.distiller import Distiller
from graphkd.distill.run_teacher import teacher_file
from graphkd.engine.build import build_models, build_trained
from graphkd.engine.hooks import (
    Checkpoints,
    Metrics,
    PeriodicEvaluation,
    ProgressBar,
    StopOnSignal,
    TrainingClock,
    drop_later_lines,
)
from graphkd.engine.log import open_log
from graphkd.engine.run_dir import RunDir, RunResult
from graphkd.engine.solver import autocast_format, build_optimizer, check_settings
from graphkd.engine.state import preserved_rng, share_buffers
from graphkd.engine.trainer import Trainer
from graphkd.errors import UserError
from graphkd.modelfile import inference_config
from graphkd.modeling.network import parameters, require_device
from graphkd.tasks.base import task_of


def prepare(cfg: CfgNode) -> None:
    """Registers the data sets, checks the device, makes the run's folder, opens its log and seeds
    the random generators.

    Raises:
        UserError: the device does not exist.
    """
    register_all()
    require_device(cfg.MODEL.DEVICE)
    folder = Path(cfg.OUTPUT_DIR)
    folder.mkdir(parents=True, exist_ok=True)
    open_log(folder / f"log{comm.get_rank() or ''}.txt")
    if cfg.SEED >= 0:
        seed_all_rng(cfg.SEED + comm.get_rank())


def train(
    cfg: CfgNode,
    *,
    source: Path,
    resume: bool = False,
    title: str | None = None,
    tested: bool = True,
) -> RunResult:
    """Trains the model of `cfg` and evaluates it; it is distilled if DISTILL.LOSSES is not empty.

    With `resume`, a finished run is not repeated; its result is read from the folder.

    Args:
        cfg: a complete, frozen config.
        source: the yaml it came from, for messages.
        resume: continue from the newest checkpoint in OUTPUT_DIR.
        title: title of the progress bar; the folder's name by default.
        tested: False scores the model on DATASETS.VAL instead of DATASETS.TEST, and does not mark
            the run as finished; a later call with `resume` does both.

    Raises:
        UserError: the config, the data or the teacher cannot be used (checked before the first
            step), or the loss diverged.
    """
    register_all()
    # All checks come before the folder of an earlier run is moved away.
    check_settings(cfg)
    task = task_of(cfg)
    classes = task.classes(cfg, source=source)
    task.check_data((*cfg.DATASETS.VAL, *cfg.DATASETS.TEST))
    teacher = teacher_file(cfg, source=source) if cfg.DISTILL.LOSSES else None
    place = RunDir(cfg.OUTPUT_DIR)
    if not resume and place.has_checkpoints:
        with preserved_rng():
            build_models(cfg, source=source)
    with place.taken(cfg, source=source, resume=resume, teacher=teacher):
        if resume and tested and place.finished:
            return place.result()
        title = title or place.folder.name
        return _train(cfg, classes, source=source, resume=resume, title=title, tested=tested)


def _train(
    cfg: CfgNode,
    classes: tuple[str, ...],
    *,
    source: Path,
    resume: bool,
    title: str,
    tested: bool,
) -> RunResult:
    prepare(cfg)
    student, model = build_models(cfg, source=source)
    training = build_trainer(cfg, student, model, classes=classes, resume=resume, title=title)
    training.trainer.train(training.trainer.start_iter, cfg.SOLVER.MAX_ITER)
    place = RunDir(cfg.OUTPUT_DIR)
    if not tested:
        scores = _validation_scores(cfg, student, training)
        return RunResult(place.weights, scores, training.clock.seconds, parameters(student))
    # Only the main process wrote the file, so only it can rely on the file being there.
    own = stored_calibration(place.weights) if comm.is_main_process() else {}
    calibration = comm.all_gather(own)[0]
    with _averaged(student, training.average):
        scores = test(cfg, student, calibration=calibration)
    result = RunResult(place.weights, scores, training.clock.seconds, parameters(student))
    if comm.is_main_process():
        place.write_result(result)
    return result


@dataclass(frozen=True)
class Training:
    """The parts of one training.

    Attributes:
        trainer: runs the steps; its hooks log, evaluate and save.
        checkpointer: saves the student and everything that a resume needs.
        clock: measures the time spent in steps.
        average: running average of the student's weights; None without `SOLVER.EMA`.
    """

    trainer: Trainer
    checkpointer: RunCheckpointer
    clock: TrainingClock
    average: RunningAverage | None


def build_trainer(
    cfg: CfgNode,
    student: nn.Module,
    model: nn.Module,
    *,
    classes: tuple[str, ...],
    resume: bool,
    title: str,
) -> Training:
    """Builds everything to train `model` (the student or the Distiller around it), and loads the
    newest checkpoint if `resume` is True.
    """
    folder = Path(cfg.OUTPUT_DIR)
    device = torch.device(cfg.MODEL.DEVICE)
    optimizer = build_optimizer(cfg, model)
    scheduler = build_lr_scheduler(cfg, optimizer)
    clock = TrainingClock()
    trainer = Trainer(
        _distributed(model, device),
        optimizer,
        device=device,
        amp=autocast_format(cfg, device),
        output_dir=folder,
        log_period=cfg.LOG_PERIOD,
        skip_nonfinite=cfg.SOLVER.SKIP_NONFINITE,
    )
    average = RunningAverage(student, decay=cfg.SOLVER.EMA) if cfg.SOLVER.EMA else None
    checkpointer = RunCheckpointer(
        student,
        str(folder),
        about={"classes": classes, "config": inference_config(cfg), "task": cfg.TASK},
        **_resume_state(model, average, trainer),
    )
    training = Training(trainer, checkpointer, clock, average)
    # The clock's after_step runs before the other hooks, so their time is not counted as training.
    trainer.register_hooks([clock, hooks.LRScheduler(optimizer, scheduler)])
    if average is not None:
        update = hooks.CallbackHook(after_step=lambda _: average.update(student))
        trainer.register_hooks([update])
    trainer.register_hooks(_evaluation(cfg, student, average))
    if resume and checkpointer.resume():
        trainer.start_iter = trainer.iter + 1
    if comm.is_main_process():
        # A killed run may have logged steps after its last checkpoint; they are taken again.
        drop_later_lines(folder / "metrics.json", step=trainer.start_iter)

    finish = partial(_write_final, cfg, student, model, training)
    saving = Checkpoints(checkpointer, period=cfg.SOLVER.CHECKPOINT_PERIOD, finish=finish)
    trainer.save = saving.save
    trainer.register_hooks(_last_hooks(cfg, saving, title, start=trainer.start_iter))
    task = task_of(cfg)
    items, mapper = task.training_dicts(cfg), task.mapper(cfg, is_train=True)
    if isinstance(model, Distiller) and model.teacher is not None:
        mapper = model.teacher.prepare(items, mapper)
    loader = build_train_loader(
        cfg,
        items,
        mapper,
        task.batches(cfg, items, seed=max(cfg.SEED, 0)),
        start_step=trainer.start_iter,
        rank=comm.get_rank(),
        world=comm.get_world_size(),
    )
    trainer.set_loader(loader)
    return training


def _resume_state(
    model: nn.Module, average: RunningAverage | None, trainer: Trainer
) -> dict[str, Any]:
    """The parts of a checkpoint besides the student, by name."""
    state: dict[str, Any] = {}
    if isinstance(model, Distiller):
        state["distill"] = model.losses
        if len(model.peers):
            state["peers"] = model.peers
        if model.teacher is not None and model.teacher.state is not None:
            state["teacher"] = model.teacher.state
    if average is not None:
        state["average"] = average
    # The trainer is loaded last: it restores the state that the losses keep per process, over the
    # main process's state in `distill`.
    return {**state, "trainer": trainer}


def _evaluation(cfg: CfgNode, student: nn.Module, average: RunningAverage | None) -> list[HookBase]:
    if not (cfg.DATASETS.VAL and cfg.TEST.EVAL_PERIOD):
        return []

    metrics = [metric.name for metric in task_of(cfg).metrics]
    score = partial(_validate, cfg, student, average)
    return [PeriodicEvaluation(score, metrics=metrics, period=cfg.TEST.EVAL_PERIOD)]


def _validate(cfg: CfgNode, student: nn.Module, average: RunningAverage | None) -> dict:
    with _averaged(student, average):
        return _score(cfg, student, cfg.DATASETS.VAL[0], calibration={})


def _validation_scores(cfg: CfgNode, student: nn.Module, training: Training) -> dict:
    """The scores on the validation set at the end of a training."""
    for hook in training.trainer._hooks:
        # It has none if the training was resumed after its last step.
        if isinstance(hook, PeriodicEvaluation) and hook.last:
            return hook.last
    return _validate(cfg, student, training.average)


def _last_hooks(cfg: CfgNode, saving: Checkpoints, title: str, *, start: int) -> list[HookBase]:
    """The last hooks. Every process needs the checkpoint hook, because each one adds its random
    state; metrics and progress bar are for the main process.

    Metrics are written without smoothing over steps (`window_size=1`), so that a resumed run writes
    the same numbers.
    """
    stopping = StopOnSignal(saving.save)
    if not comm.is_main_process():
        return [saving, stopping]
    folder = Path(cfg.OUTPUT_DIR)
    writers = [
        CommonMetricPrinter(cfg.SOLVER.MAX_ITER),
        JSONWriter(str(folder / "metrics.json"), window_size=1),
        TensorboardXWriter(str(folder), window_size=1, purge_step=start or None),
    ]
    return [
        Metrics(writers, period=cfg.LOG_PERIOD, checkpoint_period=cfg.SOLVER.CHECKPOINT_PERIOD),
        saving,
        ProgressBar(title, total=cfg.SOLVER.MAX_ITER),
        stopping,
    ]


def _write_final(cfg: CfgNode, student: nn.Module, model: nn.Module, training: Training) -> None:
    """Writes model_final.pth: the student, or its running average, with the calibration fitted on
    validation data. Writes the peers as `model_peer2.pth` and so on.
    """
    step = training.trainer.iter
    with _averaged(student, training.average):
        calibration = {}
        if cfg.DATASETS.VAL:
            with _evaluating(student):
                calibration = task_of(cfg).calibrate(cfg, student, cfg.DATASETS.VAL[0])
        training.checkpointer.save("model_final", iteration=step, calibration=calibration)
    for number, peer in enumerate(getattr(model, "peers", ()), start=2):
        training.checkpointer.save_other(f"model_peer{number}", peer)


def _averaged(student: nn.Module, average: RunningAverage | None) -> AbstractContextManager:
    return contextlib.nullcontext() if average is None else average.applied_to(student)


def test(cfg: CfgNode, model: nn.Module, *, calibration: Mapping[str, Any]) -> dict:
    """Scores `model` on every set of DATASETS.TEST and writes all scores; returns those of the
    first set.
    """
    scores = {}
    for name in cfg.DATASETS.TEST:
        folder = Path(cfg.OUTPUT_DIR) / "eval" / name
        scores[name] = _score(cfg, model, name, calibration=calibration, output_dir=folder)
    return scores[cfg.DATASETS.TEST[0]]


def evaluate_weights(cfg: CfgNode, weights: Path, *, source: Path) -> dict:
    """Scores a checkpoint on DATASETS.TEST.

    Raises:
        UserError: the weights are missing or do not fit the model exactly.
    """
    register_all()
    classes = task_of(cfg).classes(cfg, source=source)
    if not weights.is_file():
        raise UserError(f"{weights}: no such weights file; train the config first")
    task_of(cfg).check_data(cfg.DATASETS.TEST)
    prepare(cfg)
    model, calibration = build_trained(cfg, weights, classes=classes)
    return test(cfg, model, calibration=calibration)


def _score(
    cfg: CfgNode,
    model: nn.Module,
    name: str,
    *,
    calibration: Mapping[str, Any],
    output_dir: Path | None = None,
) -> dict:
    with _evaluating(model):
        return task_of(cfg).evaluate(
            cfg, model, name, calibration=calibration, output_dir=output_dir
        )


@contextlib.contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Gives every process the same buffers for scoring; restores the model's mode afterwards."""
    was_training = model.training
    share_buffers(model)
    try:
        yield
    finally:
        model.train(was_training)


def _distributed(model: nn.Module, device: torch.device) -> nn.Module:
    if comm.get_world_size() == 1:
        return model
    ids = [comm.get_local_rank()] if device.type == "cuda" else None
    # Buffers are not broadcast in every step: `share_buffers` does it before the model is scored.
    return DistributedDataParallel(model, device_ids=ids, broadcast_buffers=False)
