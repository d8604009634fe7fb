"""The main job end to end: teacher, plain student and distilled student of one pair, compared."""

import os
import platform
import shutil
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import detectron2
import torch
from detectron2.config import CfgNode

from graphkd import __version__
from graphkd.config import find_config
from graphkd.data.catalog import register_all
from graphkd.engine import run
from graphkd.engine.build import build_trained, check_classes
from graphkd.engine.jobs import as_plain, load_run, method_name, result_row
from graphkd.engine.showcase import graph_view, page_views, sample_pages
from graphkd.errors import UserError
from graphkd.evaluation.files import write_json
from graphkd.report.curves import read_curves
from graphkd.report.demo import write_demo_report
from graphkd.report.graph import graph_picture
from graphkd.report.table import format_table, gain_sentences
from graphkd.teacher import load_teacher_cfg

PAGES_SHOWN = 4


@dataclass(frozen=True)
class Part:
    """One of the three trainings: its role in the table, its config, and the yaml it came from."""

    role: str
    cfg: CfgNode
    source: Path

    @property
    def folder(self) -> Path:
        """Where its weights and numbers are."""
        return Path(self.cfg.OUTPUT_DIR)


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
    started = time.perf_counter()
    register_all()
    if fresh and out.exists():
        shutil.rmtree(out)
    parts = plan(config, out=out, overrides=overrides)
    rows = []
    for number, part in enumerate(parts, start=1):
        print(f"[{number}/{len(parts)}] {part.role}: {method_name(part.cfg)}", flush=True)
        _forget_other_config(part)
        result = run.train(part.cfg, source=part.source, resume=True, title=part.role)
        rows.append(result_row(result, role=part.role, method=method_name(part.cfg)))
    write_json(out / "results.json", rows)
    about = {**_about(config, parts), "total seconds": round(time.perf_counter() - started)}
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
    teacher.freeze()
    paths = ["DISTILL.TEACHER.WEIGHTS", str(out / "teacher" / "model_final.pth")]
    distilled, _ = load_run(config, [*overrides, "OUTPUT_DIR", str(out / "distilled"), *paths])
    plain = as_plain(cfg, str(out / "student"))
    teacher_source = find_config(cfg.DISTILL.TEACHER.CONFIG, near=source)
    return [
        Part("teacher", teacher, teacher_source),
        Part("student", plain, source),
        Part("distilled", distilled, source),
    ]


def write_report(parts: list[Part], rows: list[dict], *, out: Path, about: dict) -> Path:
    """report.html and graph.png of a finished demo, sample pages from the test set."""
    cfg = parts[-1].cfg
    classes = check_classes(cfg, source=parts[-1].source)
    models = {
        part.role: build_trained(part.cfg, part.folder / "model_final.pth", classes=classes)
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
        curves={part.role: read_curves(part.folder / "metrics.json") for part in parts},
        pages=page_views(cfg, pages, models, classes),
        graph=graph,
        about=about,
    )
    return path


def _forget_other_config(part: Part) -> None:
    """Removes what an earlier demo with another config left, so that nothing is mixed."""
    written = part.folder / "config.yaml"
    if written.is_file() and written.read_text() != part.cfg.dump():
        shutil.rmtree(part.folder)


def _about(config: str, parts: list[Part]) -> dict:
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return {
        "command": f"graphkd demo {config}",
        "seed": parts[-1].cfg.SEED,
        "data": f"{parts[-1].cfg.DATASETS.TRAIN[0]}, scored on {parts[-1].cfg.DATASETS.TEST[0]}",
        "machine": f"{os.cpu_count()} CPU cores ({platform.machine()}), {gpu}",
        "date": date.today().isoformat(),
        "versions": f"graphkd {__version__}, torch {torch.__version__}, "
        f"Detectron2 {detectron2.__version__}",
    }
