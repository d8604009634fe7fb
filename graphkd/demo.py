"""The main job end to end: teacher, plain student and distilled student of one pair, compared."""

import shutil
import time
from pathlib import Path

from graphkd.compare.parts import Part, data_of, train_part
from graphkd.config import as_plain, find_config
from graphkd.data.catalog import register_all
from graphkd.distill.teacher import load_teacher_cfg
from graphkd.engine.build import build_trained, check_pair
from graphkd.engine.jobs import load_run, method_name, result_row
from graphkd.engine.run_dir import provenance
from graphkd.engine.showcase import graph_view, page_views, sample_pages
from graphkd.engine.solver import check_settings
from graphkd.errors import UserError
from graphkd.io import held, write_json
from graphkd.report.curves import read_curves
from graphkd.report.demo import write_demo_report
from graphkd.report.graph import graph_picture
from graphkd.report.table import format_table, gain_sentences
from graphkd.tasks.base import task_of

PAGES_SHOWN = 4


def run_demo(config: str, *, out: Path, overrides: list[str], fresh: bool = False) -> list[dict]:
    """Trains and compares the pair of `config`; writes results.json and report.html into `out`.

    Parts that finished before with the same config are reused, an interrupted one goes on.

    Args:
        config: yaml of a distilled run.
        out: folder of everything.
        overrides: KEY VALUE pairs for the students.
        fresh: throw earlier parts away.

    Returns:
        The rows of the table: teacher, student, distilled.

    Raises:
        UserError: the config distils nothing, or a part does not fit.
    """
    register_all()
    parts = plan(config, out=out, overrides=overrides)
    with held(out):
        return _run_parts(parts, config, out=out, overrides=overrides, fresh=fresh)


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
        result = train_part(part)
        rows.append(result_row(result, part.cfg, role=part.name))
    write_json(out / "results.json", rows)
    about = {
        **_about(config, overrides, parts),
        "total seconds": round(time.perf_counter() - started),
    }
    report = write_report(parts, rows, out=out, about=about)
    print(format_table(rows))
    for sentence in gain_sentences(rows):
        print(sentence)
    print(f"numbers: {out / 'results.json'}   report: {report}")
    return rows


def plan(config: str, *, out: Path, overrides: list[str]) -> list[Part]:
    """The three trainings of a pair, all below `out`, students with the same initial weights."""
    cfg, source = load_run(config, overrides)
    if not cfg.DISTILL.LOSSES:
        raise UserError(f"{config}: DISTILL.LOSSES is empty, there is nothing to compare")
    teacher = load_teacher_cfg(cfg, source=source)
    teacher.OUTPUT_DIR = str(out / "teacher")
    teacher.DATASETS.TEST = cfg.DATASETS.TEST
    teacher.freeze()
    weights = out / "teacher" / "model_final.pth"
    paths = ["DISTILL.TEACHER.WEIGHTS", str(weights)]
    distilled, _ = load_run(config, [*overrides, "OUTPUT_DIR", str(out / "distilled"), *paths])
    plain = as_plain(cfg, str(out / "student"))
    teacher_source = find_config(cfg.DISTILL.TEACHER.CONFIG, near=source)
    if task_of(teacher).classes(teacher, source=teacher_source) != task_of(cfg).classes(
        cfg, source=source
    ):
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


def write_report(parts: list[Part], rows: list[dict], *, out: Path, about: dict) -> Path:
    """report.html and graph.png of a finished demo, sample pages from the test set."""
    cfg = parts[-1].cfg
    classes = task_of(cfg).classes(cfg, source=parts[-1].source)
    models = {
        part.name: build_trained(part.cfg, part.folder / "model_final.pth", classes=classes)[0]
        for part in parts
    }
    pages = sample_pages(cfg.DATASETS.TEST[0], PAGES_SHOWN)
    graph = graph_view(
        cfg,
        pages[0],
        source=parts[-1].source,
        weights=parts[-1].folder / "model_final.pth",
        classes=classes,
    )
    if graph is not None:
        graph_picture(graph, out / "graph.png")
    path = out / "report.html"
    write_demo_report(
        path,
        rows=rows,
        curves={part.name: read_curves(part.folder / "metrics.json") for part in parts},
        pages=page_views(cfg, pages, models, classes),
        graph=graph,
        about=about,
    )
    return path


def _about(config: str, overrides: list[str], parts: list[Part]) -> dict:
    cfg = parts[-1].cfg
    command = " ".join(["graphkd demo", config, *overrides])
    about = {"command": command, "seed": cfg.SEED, "data": data_of(cfg)}
    return {**about, **provenance()}
