"""The functions behind the commands train, eval and debugtrain; a launcher can start them in
several processes.
"""

import logging
from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.utils import comm
from detectron2.utils.events import EventStorage

from graphkd.config import (
    as_plain,
    find_config,
    find_data,
    find_file,
    is_config,
    load_cfg,
    project_path,
)
from graphkd.data.catalog import register_all
from graphkd.distill.run_teacher import drop_unread_teacher, load_teacher_cfg, teacher_weights
from graphkd.engine import run
from graphkd.engine.build import build_models, check_pair
from graphkd.engine.run_dir import RunDir
from graphkd.engine.solver import check_settings
from graphkd.errors import UserError
from graphkd.io import write_json
from graphkd.report.tables import format_table
from graphkd.tasks.base import task_of

logger = logging.getLogger(__name__)


def load_run(config: str, overrides: list[str], *, plain: bool = False) -> tuple[CfgNode, Path]:
    """Loads the frozen config of a run, and returns it with the path of its yaml.

    Args:
        config: path of the yaml.
        overrides: KEY VALUE pairs.
        plain: remove the losses, so that the student trains alone; OUTPUT_DIR gets the ending
            `-plain`.

    Raises:
        UserError: a wrong path, key or value.
    """
    source = find_config(config)
    cfg = load_cfg(source, overrides)
    drop_unread_teacher(cfg)
    cfg.freeze()
    return (as_plain(cfg, f"{cfg.OUTPUT_DIR.rstrip('/')}-plain") if plain else cfg), source


def train_job(
    config: str,
    overrides: list[str],
    resume: bool,
    plain: bool,
    with_teacher: bool,
    json_file: str | None = None,
) -> None:
    """Trains a run and prints the result. `with_teacher` trains a missing teacher first."""
    cfg, source = load_run(config, overrides, plain=plain)
    register_all()
    both = set(cfg.DATASETS.TRAIN) & set(cfg.DATASETS.TEST)
    if both and comm.is_main_process():
        logger.warning(
            "%s is used for training and for scoring, so the scores are too good",
            ", ".join(sorted(both)),
        )
    if with_teacher and cfg.DISTILL.LOSSES:
        train_teacher(cfg, source=source)
    result = run.train(cfg, source=source, resume=resume)
    if comm.is_main_process():
        role = "distilled" if cfg.DISTILL.LOSSES else "plain"
        row = result_row(result, cfg, role=role)
        print(format_table([row], task_of(cfg).columns))
        print(f"weights: {result.weights}")
        if json_file:
            write_json(Path(json_file), row)


def train_teacher(cfg: CfgNode, *, source: Path, students: tuple[Path, ...] = ()) -> None:
    """Trains the teacher of a run if its weights are missing; resumes an interrupted training.

    If the teacher is itself distilled, its own teacher is trained first.

    Args:
        cfg: the run's config; nothing is done if its teacher has no yaml.
        source: its yaml.
        students: the yamls of the runs that this one teaches, the first student first.

    Raises:
        UserError: the run cannot be built (checked before its teacher is trained), or a run is its
            own teacher through others.
    """
    if not cfg.DISTILL.TEACHER.CONFIG:
        return
    teacher_cfg = load_teacher_cfg(cfg, source=source)
    if teacher_weights(cfg, teacher_cfg).is_file():
        return
    teacher_source = find_config(cfg.DISTILL.TEACHER.CONFIG, near=source)
    chain = (*students, source)
    if teacher_source.resolve() in [path.resolve() for path in chain]:
        names = " -> ".join(path.name for path in (*chain, teacher_source))
        raise UserError(f"{source}: its teachers form a circle: {names}")
    if cfg.DISTILL.TEACHER.WEIGHTS:
        raise UserError(f"DISTILL.TEACHER.WEIGHTS: {cfg.DISTILL.TEACHER.WEIGHTS} does not exist")
    pages = [" + ".join(each.DATASETS.TRAIN) for each in (teacher_cfg, cfg)]
    if pages[0] != pages[1] and comm.is_main_process():
        # Overrides on the command line apply only to the student, so this is easily overlooked.
        logger.warning(
            "the teacher is trained on %s, the student on %s; the teacher's data is set in %s",
            *pages,
            cfg.DISTILL.TEACHER.CONFIG,
        )
    check_settings(cfg)
    check_pair(cfg, source=source)
    teacher_cfg.freeze()
    if teacher_cfg.DISTILL.LOSSES:
        train_teacher(teacher_cfg, source=teacher_source, students=chain)
    run.train(teacher_cfg, source=teacher_source, resume=True)


def method_name(cfg: CfgNode) -> str:
    """The methods of a run, joined with +; "none" for a plain one."""
    return "+".join(cfg.DISTILL.LOSSES) or "none"


def result_row(result: run.RunResult, cfg: CfgNode, *, role: str) -> dict:
    """One row of a result table, as in results.json, with one key per metric of the task."""
    task = task_of(cfg)
    return {
        "role": role,
        "method": method_name(cfg),
        "task": task.name,
        "params": result.parameters,
        **{metric.name: result.scores.get(metric.name) for metric in task.metrics},
        "seconds": round(result.seconds, 1),
        "weights": str(result.weights),
    }


def newest_run(root: Path | None = None) -> Path:
    """The run folder under `root` (by default output/) with the newest final weights.

    Raises:
        UserError: there is no finished run.
    """
    root = project_path("output") if root is None else root
    weights = sorted(root.glob("**/model_final.pth"), key=lambda path: path.stat().st_mtime)
    weights = [path for path in weights if (path.parent / "config.yaml").is_file()]
    if not weights:
        raise UserError(f"no finished run under {root}/; train one or name a config")
    return weights[-1].parent


def run_folder(named: str, *, data: str | None = None) -> Path:
    """The folder of a run, given by the folder itself or by the yaml of the run.

    Args:
        named: a folder, its config.yaml, or the yaml of a run.
        data: the `--data` name that the run was trained with.

    Raises:
        UserError: `named` is neither a folder nor a config.
    """
    written = ["DATASETS.NAME", data] if data else []
    return _written_folder(named) or Path(load_cfg(named, written).OUTPUT_DIR)


def _written_folder(named: str) -> Path | None:
    """The folder that `named` is, or whose config.yaml it is; None if `named` is the yaml of a run
    that need not be trained yet.
    """
    place = find_file(named)
    if place.is_dir():
        return place
    if place.name == "config.yaml" and any(place.parent.glob("model_*.pth")):
        return place.parent
    if not is_config(named):
        raise UserError(f"{named}: no such folder, and no config of this name")
    return None


def trained_run(
    named: str | None, overrides: list[str], *, data: str | None = None
) -> tuple[CfgNode, Path, Path]:
    """Finds a trained model and the config to score it with.

    Args:
        named: the folder of a run or its yaml; None for the newest run.
        overrides: KEY VALUE pairs; MODEL.WEIGHTS selects other weights.
        data: the data set to score; None for the run's own.

    Returns:
        (frozen config, its file, weights).

    Raises:
        UserError: no such run, config or data set.
    """
    folder = newest_run() if named is None else _written_folder(named)
    if folder is None:
        chosen = ["DATASETS.NAME", data] if data else []
        cfg, source = load_run(named, [*chosen, *overrides])
        weights = _weights(cfg, overrides)
        if not data or weights.is_file():
            return cfg, source, weights
        folder = Path(load_cfg(source, overrides).OUTPUT_DIR)
        if not (folder / "model_final.pth").is_file():
            return cfg, source, weights
    source = folder / "config.yaml"
    if not source.is_file():
        raise UserError(f"{folder}: it has no config.yaml; name the folder or the yaml of a run")
    # The folder may have been moved since its config was written.
    cfg = load_cfg(source, ["OUTPUT_DIR", str(folder), *overrides])
    if data:
        # Nothing is trained, and the training data may not exist any more: set all splits.
        trained_by = Path(RunDir(folder).about().get("source") or source)
        names = find_data(data, near=trained_by).splits["TEST"]
        cfg.DATASETS.TRAIN = cfg.DATASETS.VAL = cfg.DATASETS.TEST = names
    cfg.freeze()
    return cfg, source, _weights(cfg, overrides)


def _weights(cfg: CfgNode, overrides: list[str]) -> Path:
    named = "MODEL.WEIGHTS" in overrides[0::2]
    return Path(cfg.MODEL.WEIGHTS if named else Path(cfg.OUTPUT_DIR) / "model_final.pth")


def eval_job(
    config: str | None, overrides: list[str], json_file: str | None, *, data: str | None = None
) -> dict:
    """Scores the model that `trained_run` finds, and prints its metrics overall and by class."""
    cfg, source, weights = trained_run(config, overrides, data=data)
    scores = run.evaluate_weights(cfg, weights, source=source)
    if not comm.is_main_process():
        return scores
    task = task_of(cfg)
    print(f"{weights} on {cfg.DATASETS.TEST[0]} ({scores['items']} {task.item}s)")
    more = [each for each in task.more_metrics if scores.get(each.name) is not None]
    for metric in (*task.metrics, *more):
        print(f"  {metric.name:8} {metric.text(scores[metric.name]):>6}")
    for name, value in scores.get("per_class", {}).items():
        print(f"    {name:16} {task.primary_metric.text(value):>6}")
    if json_file:
        write_json(Path(json_file), scores)
    return scores


def debug_job(config: str, overrides: list[str], iterations: int) -> list[dict[str, float]]:
    """Runs a few training steps with batch size 1 and prints every loss term. A teacher that is not
    trained yet gets random weights.
    """
    small = [
        *("SOLVER.IMS_PER_BATCH", "1", "DATALOADER.NUM_WORKERS", "0"),
        *("LOG_PERIOD", "1"),  # every step shows its own terms
        *("OUTPUT_DIR", str(project_path("output/debug"))),
    ]
    cfg, source = load_run(config, [*small, *overrides])
    check_settings(cfg)
    run.prepare(cfg)
    if cfg.DISTILL.LOSSES and cfg.DISTILL.TEACHER.CONFIG:
        cfg = _with_any_teacher(cfg, source)
    classes = task_of(cfg).classes(cfg, source=source)
    student, model = build_models(cfg, source=source)
    trainer = run.build_trainer(
        cfg, student, model, classes=classes, resume=False, title="debug"
    ).trainer
    steps = []
    model.train()
    with EventStorage(0) as trainer.storage:
        for trainer.iter in range(iterations):
            trainer.run_step()
            latest = {key: value for key, (value, _) in trainer.storage.latest().items()}
            steps.append(latest)
            print(f"step {trainer.iter}")
            for key, value in sorted(latest.items()):
                print(f"  {key:40} {value:.5g}")
    return steps


def _with_any_teacher(cfg: CfgNode, source: Path) -> CfgNode:
    teacher_cfg = load_teacher_cfg(cfg, source=source)
    if teacher_weights(cfg, teacher_cfg).is_file():
        return cfg
    path = Path(cfg.OUTPUT_DIR) / "random_teacher.pth"
    torch.save({"model": task_of(teacher_cfg).build_model(teacher_cfg).state_dict()}, path)
    print("the teacher has no weights yet: this check uses random ones")
    cfg = cfg.clone()
    cfg.defrost()
    cfg.DISTILL.TEACHER.WEIGHTS = str(path)
    cfg.freeze()
    return cfg
