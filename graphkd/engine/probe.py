"""How long a training step of a method takes, measured over a few steps; no training to keep."""

import json
import statistics
import time
from dataclasses import replace

from detectron2.utils.events import EventStorage

from graphkd.engine import run
from graphkd.engine.build import build_distiller, build_student, check_classes
from graphkd.engine.contest import Contest
from graphkd.engine.parts import claim
from graphkd.evaluation.complexity import waiter
from graphkd.evaluation.files import write_json

PROBE_STEPS = 15


def probe(contest: Contest, name: str) -> float:
    """Median seconds of the first training steps; measured once and kept in the folder `probe`."""
    part = contest.part(name, contest.first_seed)
    cfg = part.cfg.clone()
    cfg.defrost()
    cfg.OUTPUT_DIR = str(contest.out / "probe" / name)
    cfg.freeze()
    part = replace(part, cfg=cfg)
    claim(part)
    kept = part.folder / "step.json"
    if kept.is_file():
        return json.loads(kept.read_text())["seconds"]
    run.take_folder(cfg, source=part.source, resume=True)
    run.prepare(cfg)
    classes = check_classes(cfg, source=part.source)
    student = build_student(cfg)
    model = build_distiller(cfg, student, source=part.source) if cfg.DISTILL.LOSSES else student
    trainer, _, _ = run.build_trainer(
        cfg, student, model, classes=classes, resume=False, title=name
    )
    seconds, wait = [], waiter(student)
    model.train()
    with EventStorage(0) as trainer.storage:
        for trainer.iter in range(PROBE_STEPS):
            wait()
            started = time.perf_counter()
            trainer.run_step()
            wait()
            seconds.append(time.perf_counter() - started)
    median = statistics.median(seconds)
    write_json(kept, {"seconds": median, "steps": PROBE_STEPS})
    return median
