"""The demo: teacher, plain and distilled student of one pair, within a time budget, compared."""

import json
import logging
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from graphkd.bench.parts import (
    StepOptions,
    fresh_distiller,
    fresh_student,
    prepare,
    training_step,
)
from graphkd.compare.parts import Part
from graphkd.compare.plan import data_of
from graphkd.config import as_plain, find_config
from graphkd.data.catalog import register_all
from graphkd.data.entries import datasets_root
from graphkd.demo_plan import (
    FULL,
    SMALL,
    DemoPlan,
    Level,
    Pace,
    StepTimes,
    describe,
    plan_demo,
    read_plan,
    save_plan,
    student_overrides,
    teacher_overrides,
)
from graphkd.distill.run_teacher import load_teacher_cfg
from graphkd.engine.build import check_pair
from graphkd.engine.jobs import load_run, method_name, result_row
from graphkd.engine.run_dir import provenance
from graphkd.engine.solver import check_settings
from graphkd.errors import UserError
from graphkd.evaluation.timing import alternate
from graphkd.io import held, write_json, write_text
from graphkd.report.runs import make_report
from graphkd.report.stored import Options
from graphkd.report.tables import format_table, gain_sentences
from graphkd.synthesis import SPLITS, generate
from graphkd.tasks.base import task_of

logger = logging.getLogger(__name__)

PAIR = "configs/tiny/R18-MNv4s.yaml"
PLAN = "plan.json"
MINUTES, LEAST_MINUTES = 10, 2
PAGES_SHOWN = 4


def run_demo(
    config: str | None = None,
    *,
    out: Path,
    overrides: list[str],
    minutes: float | None = None,
    fresh: bool = False,
) -> list[dict]:
    """Trains and compares a teacher, a plain and a distilled student; writes results and report.

    The demo's own pair is planned for a time budget (`graphkd.demo_plan`); the plan is kept in
    plan.json, and a demo that was interrupted goes on with it. Other configs train as they say.
    Trainings that finished before with the same config are reused.

    Args:
        config: yaml of a distilled run; None for the demo's own pair.
        out: folder of everything.
        overrides: KEY VALUE pairs for the students, stronger than the plan.
        minutes: the budget; None for that of an interrupted demo, else 10.
        fresh: throw earlier trainings and the plan away.

    Returns:
        The rows of the table: teacher, student, distilled.

    Raises:
        UserError: the config distils nothing, a part does not fit, or the budget is too small.
    """
    started = time.perf_counter()
    if config is not None and minutes is not None:
        raise UserError(
            f"--minutes plans the demo's own pair; {config} trains as it says: leave out one"
        )
    register_all()
    with held(out):
        if fresh:
            (out / PLAN).unlink(missing_ok=True)
        level = None
        if config is None:
            plan = _planned(out, overrides, minutes=minutes, started=started)
            config, level = PAIR, plan.level
        parts = demo_parts(config, out=out, overrides=overrides, level=level)
        return _run_parts(parts, config, out=out, overrides=overrides, fresh=fresh)


def _planned(out: Path, overrides: list[str], *, minutes: float | None, started: float) -> DemoPlan:
    """The plan of an interrupted demo where it is for the same budget, else a new one."""
    path = out / PLAN
    if path.is_file():
        try:
            plan, budget = read_plan(json.loads(path.read_text()))
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is damaged; delete it, or start again with --fresh") from error
        if minutes is None or minutes == budget:
            print(f"going on with the plan in {path}: {plan.level.text()}", flush=True)
            return plan
    minutes = MINUTES if minutes is None else minutes
    if minutes < LEAST_MINUTES:
        raise UserError(
            f"--minutes {minutes:g}: no machine trains three models in that; give {LEAST_MINUTES} "
            "or more"
        )
    print("timing a few steps and pages on this machine ...", flush=True)
    pace = measure_pace(overrides)
    spent = time.perf_counter() - started
    plan = plan_demo(pace, minutes=minutes, spent=spent, missing=_missing_pages())
    for line in describe(plan, pace, minutes=minutes):
        print(line, flush=True)
    save_plan(path, plan, pace, minutes=minutes)
    return plan


def measure_pace(overrides: list[str]) -> Pace:
    """Times training steps of the three models on made-up pages, and the making of real ones."""
    times = []
    for size, batch in (SMALL, FULL):
        shape = (size, round(size * 0.77))  # of an upright page
        options = StepOptions(PAIR, tuple(overrides), size=shape, batch=batch)
        with tempfile.TemporaryDirectory() as folder:
            ready = prepare(options, Path(folder))
            teacher = load_teacher_cfg(ready.cfg, source=ready.source)
            teacher.SOLVER.BASE_LR, teacher.OUTPUT_DIR = 0.0, folder
            ready_teacher = replace(ready, cfg=teacher)
            steps = {
                "teacher": training_step(ready_teacher, fresh_student(ready_teacher)),
                "plain": training_step(ready, fresh_student(ready)),
                "distilled": training_step(ready, fresh_distiller(ready)),
            }
            found = alternate(steps, rounds=3, warm_ups=1, title=f"steps at {size} px")
            times.append(StepTimes(**{name: each.median for name, each in found.items()}))
    pages = 24
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        generate(Path(folder) / "pages", pages=pages, seed=1, long_side=384, progress=False)
        page = (time.perf_counter() - begin) / pages
    return Pace(*times, page)


def _missing_pages() -> dict[str, int]:
    """Pages that are still to be made, by set."""
    root = datasets_root()
    return {
        name: sum(split.pages for key, split in splits.items() if not (root / name / key).is_dir())
        for name, splits in SPLITS.items()
    }


def _run_parts(
    parts: list[Part], config: str, *, out: Path, overrides: list[str], fresh: bool
) -> list[dict]:
    started = time.perf_counter()
    if fresh:
        for part in parts:
            shutil.rmtree(part.folder, ignore_errors=True)
    rows = []
    for number, part in enumerate(parts, start=1):
        print(f"[{number}/{len(parts)}] {part.name}: {method_name(part.cfg)}", flush=True)
        part.train()
        rows.append(result_row(part.place.result(), part.cfg, role=part.name))
    write_json(out / "results.json", rows)
    about = {
        **_about(config, overrides, parts),
        "total seconds": round(time.perf_counter() - started),
    }
    report, graph = out / "report.html", out / "graph.png"
    shown = Options(pages=PAGES_SHOWN, worst=False, graph_file=graph)
    make_report(out, report, shown, say=logger.info, about=about)
    metrics = task_of(parts[-1].cfg).columns
    print(format_table(rows, metrics))
    for sentence in gain_sentences(rows, metrics[0]):
        print(sentence)
    print(f"numbers: {out / 'results.json'}   report: {report}")
    return rows


def demo_parts(
    config: str, *, out: Path, overrides: list[str], level: Level | None = None
) -> list[Part]:
    """The three trainings of a pair, all below `out`, students with the same initial weights.

    Args:
        config: yaml of a distilled run.
        out: folder of everything.
        overrides: KEY VALUE pairs for the students.
        level: of the demo's own pair; None trains as the yamls say.
    """
    cfg, source = load_run(config, overrides)
    if not cfg.DISTILL.LOSSES:
        raise UserError(f"{config}: DISTILL.LOSSES is empty, there is nothing to compare")
    teacher = load_teacher_cfg(cfg, source=source)
    teacher_source = find_config(cfg.DISTILL.TEACHER.CONFIG, near=source)
    if level is not None:
        anchors = cfg.MODEL.ANCHOR_GENERATOR.SIZES
        overrides = [*student_overrides(level, anchors), *overrides]
        teacher.merge_from_list(teacher_overrides(level, anchors))
        teacher_source = out / "teacher.yaml"
        overrides = ["DISTILL.TEACHER.CONFIG", str(teacher_source), *overrides]
    teacher.OUTPUT_DIR = str(out / "teacher")
    if level is not None:
        write_text(teacher_source, teacher.dump())
    cfg, _ = load_run(config, overrides)
    teacher.DATASETS.TEST = cfg.DATASETS.TEST
    teacher.freeze()
    weights = out / "teacher" / "model_final.pth"
    paths = ["DISTILL.TEACHER.WEIGHTS", str(weights)]
    distilled, _ = load_run(config, [*overrides, "OUTPUT_DIR", str(out / "distilled"), *paths])
    plain = as_plain(cfg, str(out / "student"))
    classes = [
        task_of(each).classes(each, source=path)
        for each, path in ((teacher, teacher_source), (cfg, source))
    ]
    if classes[0] != classes[1]:
        raise UserError(
            f"{config}: teacher and student have different classes, one table cannot hold both"
        )
    if not weights.is_file():
        check_settings(distilled)
        check_pair(distilled, source=source)
    return [
        Part("teacher", teacher, teacher_source),
        Part("student", plain, source),
        Part("distilled", distilled, source, teacher=weights),
    ]


def _about(config: str, overrides: list[str], parts: list[Part]) -> dict:
    cfg = parts[-1].cfg
    command = " ".join(["graphkd demo", config, *overrides])
    about = {"command": command, "seed": cfg.SEED, "data": data_of(cfg)}
    return {**about, **provenance()}
