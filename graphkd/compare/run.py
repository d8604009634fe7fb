"""Trains the runs of a comparison one after the other; which runs there are, what is kept of them
and how the result looks is decided elsewhere.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from graphkd.compare.cost import PROBE_STEPS, relative_cost
from graphkd.compare.parallel import train_parts
from graphkd.compare.parts import Part, data_of
from graphkd.compare.plan import Contest
from graphkd.compare.results import Ledger
from graphkd.compare.rows import PLAIN, PLAIN_LONGER, TEACHER, Run
from graphkd.config import find_config
from graphkd.data.catalog import register_all
from graphkd.distill.teacher import load_teacher_cfg
from graphkd.engine import run
from graphkd.engine.build import build_models, build_trained, check_pair
from graphkd.engine.jobs import train_teacher
from graphkd.engine.run_dir import RunDir, RunResult
from graphkd.engine.solver import check_settings
from graphkd.engine.trainer import DivergedError
from graphkd.errors import UserError
from graphkd.io import held
from graphkd.modeling.network import parameters
from graphkd.tasks.base import task_of

logger = logging.getLogger(__name__)


def compare(
    contest: Contest,
    *,
    seeds: int,
    budget: str = "steps",
    time_matched: bool = False,
    processes: int = 1,
    chosen: Sequence[str] = (),
    json_file: Path | None = None,
    command: str = "graphkd compare",
    say: Callable[[str], None] = lambda text: None,
) -> Ledger:
    """Trains teacher, plain students and all methods over seeds; finished runs are not repeated.

    Runs of one seed share initial weights, data order and flips. compare.json, compare.md and
    compare.html in the contest's folder are rewritten after every run.

    Args:
        contest: the methods.
        seeds: how many, from the first config's SEED on.
        budget: "steps": every student takes the same number of steps; "time": every method's
            schedule is shortened so that it trains as long as the plain student, by the cost of a
            step measured before.
        time_matched: also train a plain student as long as the first method takes, by the cost of a
            step measured in turns.
        processes: how many runs are trained at a time, each with a GPU or a share of the cores.
        chosen: classes for a mean AP of their own.
        json_file: second place for the numbers.
        command: what was typed, for the record.
        say: receives one line before each run and one after it.

    Raises:
        UserError: whatever does not fit, before the first student is trained where that can be
            seen. A run that diverges is noted, and the others go on.
    """
    if seeds < 1:
        raise UserError(f"--seeds is {seeds}; it must be 1 or more")
    if processes < 1:
        raise UserError(f"--processes is {processes}; it must be 1 or more")
    if budget == "time" and time_matched:
        raise UserError("--time-matched adds nothing to --budget time; leave one of them out")
    register_all()
    check_settings(contest.cfg)
    classes = task_of(contest.cfg).classes(contest.cfg, source=contest.source)
    if unknown := [name for name in chosen if name not in classes]:
        raise UserError(f"no class {', '.join(unknown)}; the data has {', '.join(classes)}")
    order = range(contest.first_seed, contest.first_seed + seeds)
    about = {
        "command": command,
        "seeds": ", ".join(map(str, order)),
        "data": data_of(contest.cfg),
        "budget": _budget_text(contest, budget),
    }
    ledger = Ledger(contest, task_of(contest.cfg).columns, about, tuple(chosen), json_file)
    with held(contest.out):
        _run_all(ledger, classes, order, budget, time_matched, processes, say)
    return ledger


def _run_all(
    ledger: Ledger,
    classes: tuple[str, ...],
    order: Sequence[int],
    budget: str,
    time_matched: bool,
    processes: int,
    say: Callable[[str], None],
) -> None:
    contest = ledger.contest
    if processes > 1:
        ledger.notes.append(f"{processes} runs were trained at a time; their seconds show it.")
    say(f"teacher: {contest.teacher_weights}")
    _add_teacher(ledger, classes)
    stretches = dict.fromkeys((PLAIN, *contest.methods), 1.0)
    if budget == "time":
        stretches = _probe_all(ledger, say)
    jobs = [(seed, name) for seed in order for name in stretches]
    parts = [contest.part(name, seed, stretch=stretches[name]) for seed, name in jobs]
    _train_all(ledger, parts, say, processes=processes)
    first = next(iter(contest.methods))
    if time_matched and any(found.name == first for found in ledger.runs):
        cost = _cost(ledger, first, say, title=PLAIN_LONGER)
        parts = [contest.part(PLAIN_LONGER, seed, stretch=cost) for seed in order if cost]
        _train_all(ledger, parts, say, processes=processes)
    elif time_matched:
        ledger.failed[PLAIN_LONGER] = f"no run of {first} has ended"
    ledger.write()


def _train_all(
    ledger: Ledger, parts: list[Part], say: Callable[[str], None], *, processes: int
) -> None:
    """Reads the finished parts back, so that the files never hold less than before; trains the
    others.
    """
    for part in parts:
        part.claim()
    done = [part for part in parts if part.finished]
    todo = [part for part in parts if not part.finished]
    for part in done:
        say(f"{part.title}: finished before")
        ledger.add(_run_of(part, part.place.result()), part.folder / "metrics.json")
    ledger.write()
    _check_methods(todo)
    for number, (part, failure) in enumerate(train_parts(todo, processes=processes), start=1):
        place = f"[{number}/{len(todo)}] "
        if failure is not None:
            _note_failure(ledger, part.title, failure, say, place)
        else:
            found = _run_of(part, part.place.result())
            ledger.add(found, part.folder / "metrics.json")
            first = ledger.metrics[0]
            known = f"{first.name} {first.text(found.scores.get(first.name))}"
            say(f"{place}{part.title}: {known}, {found.seconds:.0f} s of training")
        ledger.write()


def _run_of(part: Part, done: RunResult) -> Run:
    record = part.place.about()
    return Run(
        name=part.name,
        seed=part.cfg.SEED,
        scores={metric.name: done.scores.get(metric.name) for metric in task_of(part.cfg).metrics},
        per_class=done.scores.get("per_class") or {},
        parameters=done.parameters,
        iterations=part.cfg.SOLVER.MAX_ITER,
        seconds=done.seconds,
        weights=str(done.weights),
        machine=record.get("machine", ""),
        date=record.get("date", ""),
    )


def _add_teacher(ledger: Ledger, classes: tuple[str, ...]) -> None:
    """Trains the teacher if it has no weights and scores it on the students' test set."""
    contest = ledger.contest
    if not contest.teacher_weights.is_file():
        for method in contest.methods.values():
            check_pair(method, source=contest.source)
    train_teacher(contest.cfg, source=contest.source)
    weights = contest.teacher_weights
    cfg = load_teacher_cfg(contest.cfg, source=contest.source)
    source = find_config(contest.cfg.DISTILL.TEACHER.CONFIG, near=contest.source)
    own = task_of(cfg).classes(cfg, source=source)
    if own != classes:
        ledger.notes.append(
            f"The teacher knows other classes ({', '.join(own)}), so its AP is not comparable."
        )
        return
    cfg.DATASETS.TEST = contest.cfg.DATASETS.TEST
    # The run says whether its teacher's file may be unpickled, here as in training.
    cfg.TRUST_PICKLES = contest.cfg.TRUST_PICKLES
    cfg.OUTPUT_DIR = str(contest.out / "teacher-scores")
    cfg.freeze()
    source = find_config(contest.cfg.DISTILL.TEACHER.CONFIG, near=contest.source)
    part = Part(TEACHER, cfg, source, teacher=weights)
    done = _score_part(part, weights, classes)
    found = replace(_run_of(part, done), seed=None, **_training(weights.parent))
    ledger.add(found, weights.parent / "metrics.json")


def _score_part(part: Part, weights: Path, classes: tuple[str, ...]) -> RunResult:
    part.claim()
    if part.finished:
        return part.place.result()
    with part.place.taken(part.cfg, source=part.source, resume=True, teacher=part.teacher):
        run.prepare(part.cfg)
        model, calibration = build_trained(part.cfg, weights, classes=classes)
        scores = run.test(part.cfg, model, calibration=calibration)
        done = RunResult(weights, scores, 0.0, parameters(model))
        part.place.write_result(done)
    return done


def _training(folder: Path) -> dict:
    """Steps and seconds of the teacher's own training, None where its folder does not tell them."""
    place = RunDir(folder)
    written = place.config()
    if written is None or not place.finished:
        return {"seconds": None, "iterations": None}
    return {"seconds": place.result().seconds, "iterations": written["SOLVER"]["MAX_ITER"]}


def _check_methods(parts: list[Part]) -> None:
    """Builds every method once, so that a wrong option shows before hours of training."""
    methods = {part.name: part for part in parts if part.teacher}
    for part in methods.values():
        run.prepare(part.cfg)
        build_models(part.cfg, source=part.source)


def _probe_all(ledger: Ledger, say: Callable[[str], None]) -> dict[str, float]:
    """How much shorter each method's schedule must be to last as long as the plain student's.

    A method that diverges here is noted as failed and left out.
    """
    costs = {name: _cost(ledger, name, say, title=name) for name in ledger.contest.methods}
    measured = {name: 1 / cost for name, cost in costs.items() if cost is not None}
    return {PLAIN: 1.0, **measured}


def _cost(ledger: Ledger, name: str, say: Callable[[str], None], *, title: str) -> float | None:
    """Duration of a step of `name` relative to the plain student's.

    None where it breaks off, which is noted for `title`, the run that needs it.
    """
    say(f"{name}: measuring the cost of a step ({PROBE_STEPS} of it and of the plain student)")
    reason = None
    try:
        return relative_cost(ledger.contest, name)
    except DivergedError as error:
        reason = str(error)
    except UserError:
        raise
    except Exception as error:
        logger.exception("the cost of %s could not be measured", name)
        reason = f"{type(error).__name__}: {error}"
    _note_failure(ledger, title, reason, say)
    return None


def _note_failure(
    ledger: Ledger, title: str, reason: str, say: Callable[[str], None], place: str = ""
) -> None:
    ledger.failed[title] = " ".join(reason.split())
    say(f"{place}{title}: stopped, {ledger.failed[title]}")


def _budget_text(contest: Contest, budget: str) -> str:
    solver = contest.cfg.SOLVER
    length = f"{solver.MAX_ITER} steps of {solver.IMS_PER_BATCH} {task_of(contest.cfg).item}s"
    if budget == "steps":
        return f"{length} for every student"
    return f"{length} for the plain student, the same training time for every method"
