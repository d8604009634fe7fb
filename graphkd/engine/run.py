"""One run: train a model of a config, evaluate it, leave its weights and numbers in a folder."""

from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.data import build_detection_test_loader
from detectron2.engine import HookBase, hooks
from detectron2.solver import build_lr_scheduler
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from detectron2.utils.events import CommonMetricPrinter, JSONWriter, TensorboardXWriter
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from graphkd.checkpoint import RunCheckpointer
from graphkd.data.catalog import check_scorable, register_all
from graphkd.data.loader import build_train_loader
from graphkd.data.mapper import PageMapper
from graphkd.distill.teacher import load_teacher_cfg, require_weights
from graphkd.engine.build import build_models, build_trained, check_classes
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
from graphkd.engine.passing import share_buffers
from graphkd.engine.precision import autocast_format
from graphkd.engine.rng import preserved_rng
from graphkd.engine.run_dir import RunDir, RunResult
from graphkd.engine.solver import build_optimizer, check_settings
from graphkd.engine.trainer import Trainer
from graphkd.errors import UserError
from graphkd.evaluation.coco import evaluate
from graphkd.modelfile import inference_config
from graphkd.modeling.network import parameters, require_device


def prepare(cfg: CfgNode) -> None:
    """Registers data sets, checks the device, opens the run's folder and log, seeds the random
    state.

    Raises:
        UserError: a device that is not there.
    """
    register_all()
    require_device(cfg.MODEL.DEVICE)
    folder = Path(cfg.OUTPUT_DIR)
    folder.mkdir(parents=True, exist_ok=True)
    open_log(folder / f"log{comm.get_rank() or ''}.txt")
    if cfg.SEED >= 0:
        seed_all_rng(cfg.SEED + comm.get_rank())


def train(
    cfg: CfgNode, *, source: Path, resume: bool = False, title: str | None = None
) -> RunResult:
    """Trains the model of `cfg`, with a teacher where DISTILL.LOSSES is not empty, and evaluates
    it.

    A run that is complete already is not repeated under `resume`; its result is read back.

    Args:
        cfg: a frozen complete config.
        source: the yaml it came from, for messages.
        resume: go on from the newest checkpoint of OUTPUT_DIR.
        title: of the progress bar; the folder's name by default.

    Raises:
        UserError: whatever does not fit before the first step, or a diverged loss.
    """
    register_all()
    # All of this before an earlier run's folder is touched.
    check_settings(cfg)
    classes = check_classes(cfg, source=source)
    check_scorable((*cfg.DATASETS.VAL, *cfg.DATASETS.TEST))
    teacher = None
    if cfg.DISTILL.LOSSES:
        teacher = require_weights(cfg, load_teacher_cfg(cfg, source=source), source=source)
    place = RunDir(cfg.OUTPUT_DIR)
    if not resume and place.has_checkpoints:
        with preserved_rng():
            build_models(cfg, source=source)
    with place.taken(cfg, source=source, resume=resume, teacher=teacher):
        if resume and place.finished:
            return place.result()
        return _train(cfg, classes, source=source, resume=resume, title=title or place.folder.name)


def _train(
    cfg: CfgNode, classes: tuple[str, ...], *, source: Path, resume: bool, title: str
) -> RunResult:
    prepare(cfg)
    student, model = build_models(cfg, source=source)
    trainer, checkpointer, clock = build_trainer(
        cfg, student, model, classes=classes, resume=resume, title=title
    )
    trainer.train(trainer.start_iter, cfg.SOLVER.MAX_ITER)
    scores = test(cfg, student, classes=classes)
    place = RunDir(cfg.OUTPUT_DIR)
    result = RunResult(place.weights, scores, clock.seconds, parameters(student))
    if comm.is_main_process():
        place.write_result(result)
    return result


def build_trainer(
    cfg: CfgNode,
    student: nn.Module,
    model: nn.Module,
    *,
    classes: tuple[str, ...],
    resume: bool,
    title: str,
) -> tuple[Trainer, RunCheckpointer, TrainingClock]:
    """The trainer of `model` (the student or the Distiller around it), restored where `resume`
    says so.
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
    # The trainer's comes last: it has each process's own part of what the losses hold.
    state = {} if model is student else {"distill": model.losses}
    state["trainer"] = trainer
    checkpointer = RunCheckpointer(
        student, str(folder), classes=classes, config=inference_config(cfg), **state
    )
    # The clock comes first, so that evaluation and checkpoints do not count as training.
    trainer.register_hooks([clock, hooks.LRScheduler(optimizer, scheduler)])
    trainer.register_hooks(_evaluation(cfg, student, classes))
    if resume and checkpointer.resume():
        trainer.start_iter = trainer.iter + 1
    if comm.is_main_process():
        drop_later_lines(folder / "metrics.json", step=trainer.start_iter)
    saving = Checkpoints(checkpointer, period=cfg.SOLVER.CHECKPOINT_PERIOD)
    trainer.save = saving.save
    trainer.register_hooks(_last_hooks(cfg, saving, title, start=trainer.start_iter))
    loader = build_train_loader(
        cfg,
        PageMapper(cfg, is_train=True),
        start_step=trainer.start_iter,
        rank=comm.get_rank(),
        world=comm.get_world_size(),
    )
    trainer.set_loader(loader)
    return trainer, checkpointer, clock


def _evaluation(cfg: CfgNode, student: nn.Module, classes: tuple[str, ...]) -> list[HookBase]:
    if not (cfg.DATASETS.VAL and cfg.TEST.EVAL_PERIOD):
        return []

    def score() -> dict:
        return _score(cfg, student, cfg.DATASETS.VAL[0], classes)

    return [PeriodicEvaluation(score, period=cfg.TEST.EVAL_PERIOD)]


def _last_hooks(cfg: CfgNode, saving: Checkpoints, title: str, *, start: int) -> list[HookBase]:
    """Checkpoints on every process, since all give their random state; the rest on the main one.

    Numbers are written as they are, not as a median over steps: a resumed run writes the same.
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


def test(cfg: CfgNode, model: nn.Module, *, classes: tuple[str, ...]) -> dict:
    """COCO AP of `model` on every set of DATASETS.TEST; the result dict of the first, which is
    written.
    """
    scores = {}
    for name in cfg.DATASETS.TEST:
        scores[name] = _score(cfg, model, name, classes, Path(cfg.OUTPUT_DIR) / "eval" / name)
    return scores[cfg.DATASETS.TEST[0]]


def evaluate_weights(cfg: CfgNode, weights: Path, *, source: Path) -> dict:
    """COCO AP of a checkpoint on DATASETS.TEST.

    Raises:
        UserError: the weights do not fill the model exactly.
    """
    register_all()
    classes = check_classes(cfg, source=source)
    if not weights.is_file():
        raise UserError(f"{weights}: no such weights file; train the config first")
    check_scorable(cfg.DATASETS.TEST)
    prepare(cfg)
    return test(cfg, build_trained(cfg, weights, classes=classes), classes=classes)


def _score(cfg, model: nn.Module, name: str, classes, output_dir: Path | None = None) -> dict:
    loader = build_detection_test_loader(cfg, name, mapper=PageMapper(cfg, is_train=False))
    was_training = model.training
    share_buffers(model)
    try:
        return evaluate(model, loader, name, classes=classes, output_dir=output_dir)
    finally:
        model.train(was_training)


def _distributed(model: nn.Module, device: torch.device) -> nn.Module:
    if comm.get_world_size() == 1:
        return model
    ids = [comm.get_local_rank()] if device.type == "cuda" else None
    return DistributedDataParallel(model, device_ids=ids, broadcast_buffers=False)
