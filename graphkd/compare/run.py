"""Runs a comparison: trains the teacher, plain students and all methods, over several seeds."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from graphkd.compare.parts import Part, failure_of, train_parts
from graphkd.compare.plan import Contest, data_of
from graphkd.compare.results import INPUTS, NUMBER_FORMAT, Added, Ledger, config_of
from graphkd.compare.rows import PLAIN, PLAIN_LONGER, Run
from graphkd.compare.search import PROBE_STEPS, new_search, relative_cost
from graphkd.data.catalog import register_all
from graphkd.engine import run
from graphkd.engine.build import build_models, build_trained, check_pair
from graphkd.engine.jobs import train_teacher
from graphkd.engine.run_dir import (
    RunDir,
    RunResult,
    inputs_of,
    number_format,
)
from graphkd.engine.solver import check_settings
from graphkd.errors import UserError
from graphkd.io import held
from graphkd.modeling.network import parameters
from graphkd.tasks.base import task_of


def compare(
    contest: Contest,
    *,
    seeds: int,
    budget: str = "steps",
    time_matched: bool = False,
    tune: Sequence[float] = (),
    add: Sequence[Path] = (),
    trains: bool = True,
    processes: int = 1,
    chosen: Sequence[str] = (),
    json_file: Path | None = None,
    command: str = "graphkd compare",
    say: Callable[[str], None] = lambda text: None,
) -> Ledger:
    """Trains teacher, plain students and all methods over seeds; finished runs are not repeated.

    Runs of one seed share initial weights, data order and augmentation. compare.json, compare.md
    and compare.html in the contest's folder are rewritten after every run.

    Args:
        contest: the methods.
        seeds: number of seeds, from the first config's SEED on.
        budget: "steps": every student takes the same number of steps; "time": the schedule of
            every method is shortened so that it trains as long as the plain student.
        time_matched: also train a plain student as long as the first method takes.
        tune: factors for the loss weights. Every method is trained with each factor at the first
            seed, and the factor with the best score on DATASETS.VAL is used for all seeds. Empty:
            the weights as configured.
        add: results files of other comparisons; their runs are added if they fit.
        trains: False makes the table of the runs that are finished.
        processes: number of runs trained at a time, each with a GPU or a share of the cores.
        chosen: classes with a mean of their own.
        json_file: a second file for the numbers.
        command: the command line, for the record.
        say: receives a line about each run.

    Raises:
        UserError: the settings or files do not fit; where possible before the first training. A
            run that diverges is recorded, and the others go on.
    """
    _check_options(seeds, budget, time_matched, add, processes)
    register_all()
    if trains:
        check_settings(contest.cfg)
    task = task_of(contest.cfg)
    classes = task.classes(contest.cfg, source=contest.source)
    if unknown := [name for name in chosen if name not in classes]:
        raise UserError(f"no class {', '.join(unknown)}; the data has {', '.join(classes)}")
    order = range(contest.first_seed, contest.first_seed + seeds)
    about = {
        "command": command,
        "seeds": ", ".join(map(str, order)),
        "data": data_of(contest.cfg),
        "budget": _budget_text(contest, budget),
    }
    search = new_search(contest, tune) if tune else None
    if search is not None:
        about["loss weights"] = f"{search.title}, the best on {search.data}"
    ledger = Ledger(contest, task, about, tuple(chosen), json_file, search)
    with held(contest.out):
        added = Added(contest, order, _made_from(contest, order, trains=trains), search)
        for path in add:
            added.take(Path(path))
        for text in added.notes:
            say(text)
        ledger.notes += added.notes
        comparison = _Comparison(ledger, order, added, trains, processes, say)
        comparison.run(classes, budget=budget, time_matched=time_matched)
    return ledger


def _check_options(
    seeds: int, budget: str, time_matched: bool, add: Sequence[Path], processes: int
) -> None:
    if seeds < 1:
        raise UserError(f"--seeds is {seeds}; it must be 1 or more")
    if processes < 1:
        raise UserError(f"--processes is {processes}; it must be 1 or more")
    if budget == "time" and time_matched:
        raise UserError("--time-matched adds nothing to --budget time; leave one of them out")
    if budget == "time" and add:
        raise UserError(
            "--add cannot be used with --budget time, because training times of two machines "
            "cannot be compared"
        )


def _made_from(contest: Contest, order: Sequence[int], *, trains: bool) -> dict[str, str | None]:
    """Digests of the input files and the number format, as far as they are known here."""
    cfg, teacher = contest.cfg, contest.teacher_weights
    found = inputs_of(cfg, teacher=teacher if teacher and teacher.is_file() else None)
    places = [
        contest.part(name, seed).place for seed in order for name in (PLAIN, *contest.methods)
    ]
    formats = [place.about().get(NUMBER_FORMAT) for place in places if place.finished]
    default = number_format(cfg) if trains else None
    return {**found, NUMBER_FORMAT: next(filter(None, formats), default)}


@dataclass
class _Comparison:
    """The work of `compare`; the attributes are its arguments."""

    ledger: Ledger
    seeds: Sequence[int]
    added: Added
    trains: bool
    processes: int
    say: Callable[[str], None]

    @property
    def contest(self) -> Contest:
        return self.ledger.contest

    def run(self, classes: tuple[str, ...], *, budget: str, time_matched: bool) -> None:
        ledger, contest = self.ledger, self.contest
        if self.processes > 1:
            ledger.notes.append(
                f"{self.processes} runs were trained at a time; their seconds show it."
            )
        self._teacher(classes)
        stretches = dict.fromkeys((PLAIN, *contest.methods), 1.0)
        if budget == "time":
            stretches = self._probe_all()
        factors = self._factors(stretches)
        parts = [
            contest.part(name, seed, stretch=stretches[name], factor=factors[name])
            for seed in self.seeds
            for name in stretches
            if name in factors
        ]
        missing = self._read(parts)
        self._take_added()
        self._train(missing)
        first = next(iter(contest.methods))
        if time_matched and any(found.name == first for found in ledger.runs):
            cost = self._cost(first, PLAIN_LONGER)
            parts = [contest.part(PLAIN_LONGER, s, stretch=cost) for s in self.seeds if cost]
            self._train(self._read(parts))
        elif time_matched:
            ledger.fail(PLAIN_LONGER, PLAIN_LONGER, f"no run of {first} has ended")
        ledger.write()

    def _teacher(self, classes: tuple[str, ...]) -> None:
        """Trains the teacher if it is missing and needed, and scores it on the test set."""
        contest, weights = self.contest, self.contest.teacher_weights
        if weights is None or not contest.cfg.DISTILL.TEACHER.CONFIG:
            return
        self.say(f"teacher: {weights}")
        wanted = [(name, seed) for name in contest.methods for seed in self.seeds]
        needed = self.trains and any(self.added.run(*each) is None for each in wanted)
        if needed and not weights.is_file():
            if self.added.made_from.get("teacher"):
                raise UserError(
                    f"the teacher of the added runs is missing; copy its weights to {weights}, or "
                    "set DISTILL.TEACHER.WEIGHTS to their path"
                )
            for method in contest.methods.values():
                check_pair(method, source=contest.source)
            train_teacher(contest.cfg, source=contest.source)
        part = contest.teacher_part()
        own = task_of(part.cfg).classes(part.cfg, source=part.source)
        if own != classes:
            self.ledger.notes.append(
                f"The teacher knows other classes ({', '.join(own)}), so its scores are not "
                "comparable."
            )
        elif self.trains and weights.is_file():
            _score(part, weights, classes)
        if own == classes and part.kept:
            found = replace(self._run_of(part), seed=None, **_training(weights.parent))
            self.ledger.runs.append(found)

    def _probe_all(self) -> dict[str, float]:
        """The factor by which each schedule must be shortened for equal training time.

        A method that fails here is left out.
        """
        costs = {name: self._cost(name, name) for name in self.contest.methods}
        return {PLAIN: 1.0, **{name: 1 / cost for name, cost in costs.items() if cost is not None}}

    def _cost(self, name: str, title: str) -> float | None:
        """Duration of a step of `name` relative to the plain student's.

        None if the measurement fails, which is recorded for `title`, the model that needs it.
        """
        self.say(f"{name}: measuring the cost of a step ({PROBE_STEPS} of it and of the plain one)")
        found: list[float] = []
        failure = failure_of(lambda: found.append(relative_cost(self.contest, name)), name)
        if failure:
            self._fail(title, title, failure)
        return found[0] if found else None

    def _factors(self, stretches: dict[str, float]) -> dict[str, float]:
        """The factor for the loss weights of each model; methods without one are left out."""
        search = self.ledger.search
        if search is None:
            return dict.fromkeys(stretches, 1.0)
        if search.data in self.contest.cfg.DATASETS.TEST:
            self.ledger.notes.append(
                "The loss weights were chosen on the test set, so all gains are too good."
            )
        names = [name for name in stretches if name != PLAIN and name not in search.chosen]
        self._search(
            [
                self.contest.part(name, search.seed, stretch=stretches[name], factor=factor)
                for name in names
                for factor in search.factors
            ]
        )
        for name in names:
            complete = len(search.scores.get(name, {})) == len(search.factors)
            if complete and search.choose(name, self.ledger.metrics[0]) is None:
                reasons = search.stopped.get(name, {"": "nothing could be measured"})
                reason = f"no factor gives a score: {next(iter(reasons.values()))}"
                self._fail(name, f"{name}, search for its weights", reason)
        self.ledger.write()
        return {PLAIN: 1.0, **search.chosen}

    def _search(self, parts: list[Part]) -> None:
        """Trains the missing runs of the search and records all validation scores."""
        search, metric = self.ledger.search, self.ledger.metrics[0]
        parts = [replace(part, tested=False) for part in parts]
        missing = [part for part in parts if not self._is_there(part)]
        for part in parts:
            if part not in missing:
                search.take(part, metric)
        for part, place in self._trained(missing):
            score = search.take(part, metric)
            known = f"{metric.name} {metric.text(score)} on {search.data}"
            reason = search.stopped.get(part.name, {}).get(f"{part.factor:g}")
            self.say(f"{place}{part.title}: {f'stopped, {reason}' if reason else known}")

    def _read(self, parts: list[Part]) -> list[Part]:
        """Records the finished parts and returns the missing ones."""
        missing = []
        for part in parts:
            if self._is_there(part):
                self.say(f"{part.title}: finished before")
                self.ledger.runs.append(self._run_of(part))
            elif self.added.run(part.name, part.cfg.SEED) is None:
                missing.append(part)
        self.ledger.write()
        return missing

    def _is_there(self, part: Part) -> bool:
        """Whether a part is finished. If it may be trained, another run in its folder is moved."""
        if self.trains and self.added.run(part.name, part.cfg.SEED) is None:
            part.claim()
        return part.kept

    def _take_added(self) -> None:
        """Records the added runs, except those that are finished here.

        Plain runs of other machines are kept, because step costs there refer to them.
        """
        here = {(run.name, run.seed) for run in self.ledger.runs}
        timed = {(run.machine, run.seed) for run in self.ledger.runs if run.name == PLAIN}
        for found in self.added.runs:
            times = found.name == PLAIN and (found.machine, found.seed) not in timed
            if times or (found.name, found.seed) not in here:
                self.say(f"{found.title}: added from {found.added}")
                self.ledger.runs.append(found)
        self.ledger.write()

    def _train(self, parts: list[Part]) -> None:
        metric = self.ledger.metrics[0]
        for part, place in self._trained(parts):
            found = self._run_of(part)
            self.ledger.runs.append(found)
            known = f"{metric.name} {metric.text(found.scores.get(metric.name))}"
            self.say(f"{place}{part.title}: {known}, {found.seconds:.0f} s of training")

    def _trained(self, parts: list[Part]) -> Iterator[tuple[Part, str]]:
        """Trains parts; yields each finished one with its number, and records failures."""
        if not self.trains:
            return
        # Build every method once, to find wrong options before hours of training.
        for part in {part.name: part for part in parts if part.cfg.DISTILL.LOSSES}.values():
            run.prepare(part.cfg)
            build_models(part.cfg, source=part.source)
        ended = train_parts(parts, processes=self.processes)
        for number, (part, failure) in enumerate(ended, start=1):
            place = f"[{number}/{len(parts)}] "
            if failure is None:
                yield part, place
            else:
                self._fail(part.name, part.title, failure, place)
            self.ledger.write()

    def _run_of(self, part: Part) -> Run:
        done, about = part.place.result(), part.place.about()
        inputs = [key for key in about if key in INPUTS or key.startswith("data ")]
        return Run(
            name=part.name,
            seed=part.cfg.SEED,
            scores={metric.name: done.scores.get(metric.name) for metric in self.ledger.metrics},
            per_class=done.scores.get("per_class") or {},
            parameters=done.parameters,
            iterations=part.cfg.SOLVER.MAX_ITER,
            seconds=done.seconds,
            weights=str(done.weights),
            machine=about.get("machine", ""),
            date=about.get("date", ""),
            folder=part.folder.relative_to(self.contest.out).as_posix(),
            factor=part.factor,
            config=config_of(part.cfg),
            made_from={key: about[key] for key in inputs},
        )

    def _fail(self, name: str, title: str, reason: str, place: str = "") -> None:
        self.ledger.fail(name, title, reason)
        self.say(f"{place}{title}: stopped, {self.ledger.failed[title]}")


def _score(part: Part, weights: Path, classes: tuple[str, ...]) -> None:
    """Scores the teacher on the students' test set, unless that was done before."""
    part.claim()
    if part.finished:
        return
    with part.place.taken(part.cfg, source=part.source, resume=True, teacher=part.teacher):
        run.prepare(part.cfg)
        model, calibration = build_trained(part.cfg, weights, classes=classes)
        scores = run.test(part.cfg, model, calibration=calibration)
        part.place.write_result(RunResult(weights, scores, 0.0, parameters(model)))


def _training(folder: Path) -> dict:
    """Steps and seconds of the teacher's own training; None if they are unknown."""
    place = RunDir(folder)
    written = place.config()
    if written is None or not place.finished:
        return {"seconds": None, "iterations": None}
    return {"seconds": place.result().seconds, "iterations": written["SOLVER"]["MAX_ITER"]}


def _budget_text(contest: Contest, budget: str) -> str:
    solver = contest.cfg.SOLVER
    length = f"{solver.MAX_ITER} steps of {solver.IMS_PER_BATCH} {task_of(contest.cfg).item}s"
    if budget == "steps":
        return f"{length} for every student"
    return f"{length} for the plain student, the same training time for every method"
