"""The results of a comparison, its result files, and runs added from other result files."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from detectron2.config import CfgNode

from graphkd.compare.plan import LOSSES, Contest
from graphkd.compare.rows import PLAIN, PLAIN_LONGER, TEACHER, Row, Run, compare_runs
from graphkd.compare.search import Search
from graphkd.config import get_cfg
from graphkd.engine.run_dir import (
    PLACES,
    THEN,
    changed_input,
    difference_of,
    flat,
    provenance,
)
from graphkd.errors import UserError
from graphkd.io import write_json, write_text
from graphkd.report.compare import mean_curves, write_compare_report
from graphkd.report.tables import difference_text, markdown
from graphkd.tasks.base import Metric, Task

NUMBER_FORMAT = "number format"
# Keys of a run's record that say what it was made from, besides its data sets.
INPUTS = (NUMBER_FORMAT, "teacher", "MODEL.WEIGHTS")


@dataclass
class Ledger:
    """The finished runs of a comparison; `write` puts them into its result files.

    Attributes:
        contest: the methods.
        task: the task of the models.
        about: command, data and seeds.
        chosen: classes with a mean of their own.
        json_file: a second file for the numbers.
        search: the search for loss weights; None without one.
        runs: all finished runs so far, also added ones.
        notes: remarks for readers of the table.
        failed: title of a run -> why it failed.
    """

    contest: Contest
    task: Task
    about: dict[str, str]
    chosen: tuple[str, ...] = ()
    json_file: Path | None = None
    search: Search | None = None
    runs: list[Run] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    _failed_names: set[str] = field(default_factory=set)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics of the task, the primary metric first."""
        return self.task.columns

    @property
    def rows(self) -> list[Row]:
        """The table so far: teacher, plain students, the contest's methods, other added methods."""
        present = {found.name for found in self.runs}
        wanted = (PLAIN, *self.contest.methods)
        order = [TEACHER, PLAIN, PLAIN_LONGER, *self.contest.methods]
        names = [name for name in order if name in present or name in wanted]
        rows = compare_runs(self.runs, self.metrics, chosen=self.chosen, names=names)
        failed = {row.name for row in rows if row.state == "not run"} & self._failed_names
        return [replace(row, state="failed") if row.name in failed else row for row in rows]

    def fail(self, name: str, title: str, reason: str) -> None:
        """Records why a run of the model `name` failed."""
        self.failed[title] = " ".join(reason.split())
        self._failed_names.add(name)

    def write(self) -> None:
        """Writes compare.json, compare.md and compare.html."""
        rows, notes = self.rows, self.all_notes
        machines = "; ".join(sorted(self._machines())) or "not recorded"
        about = {**self.about, **provenance(), "trained on": machines}
        base = config_of(self.contest.part(PLAIN, self.contest.first_seed).cfg)
        values = {
            "about": about,
            "notes": notes,
            "task": self.contest.cfg.TASK,
            "metrics": [asdict(metric) for metric in self.metrics],
            "primary": self.task.primary,
            "tuning": self.search and asdict(self.search),
            "rows": [asdict(row) for row in rows],
            "config": base,
            "runs": [_as_json(found, base) for found in self.runs],
            "failed": self.failed,
        }
        out = self.contest.out
        for path in filter(None, (out / "compare.json", self.json_file)):
            write_json(path, values)
        shown = {"rows": rows, "metrics": self.metrics, "chosen": self.chosen}
        shown |= {"about": about, "notes": notes, "tuning": values["tuning"]}
        write_text(out / "compare.md", markdown(**shown))
        curves = mean_curves(out, self.runs, self.metrics[0])
        write_compare_report(out / "compare.html", curves=curves, **shown)

    @property
    def all_notes(self) -> list[str]:
        """All remarks on the table, failures last."""
        notes = [*self.notes, *self._added(), *self._same_time()]
        if len(self._machines()) > 1:
            notes.append("The runs come from different machines: do not compare their times.")
        students = [found for found in self.runs if found.name != TEACHER]
        formats = {found.made_from.get(NUMBER_FORMAT) for found in students} - {None}
        if len(formats) > 1:
            notes.append(f"The runs used different number formats: {', '.join(sorted(formats))}.")
        return [*notes, *(f"Failed: {name}: {reason}" for name, reason in self.failed.items())]

    def _added(self) -> Iterator[str]:
        """One sentence per model and results file with added runs."""
        places: dict[tuple, list[Run]] = {}
        shown = {(found.name, found.seed): found for found in reversed(self.runs)}
        for found in shown.values():
            if found.added:
                places.setdefault((found.name, found.added, found.machine), []).append(found)
        for (name, file, machine), runs in sorted(places.items()):
            seeds = "" if name == TEACHER else f", {_seeds(runs)}"
            dates = " and ".join(sorted({found.date for found in runs if found.date}))
            yield f"{name}{seeds}: added from {file}, trained on {machine} ({dates})."

    def _same_time(self) -> list[str]:
        first = next(iter(self.contest.methods))
        rows = compare_runs(self.runs, self.metrics, against=PLAIN_LONGER)
        times = f"{self._seconds(first):.0f} s against {self._seconds(PLAIN_LONGER):.0f} s"
        return [
            f"{row.name} against a plain student trained as long: "
            f"{difference_text(row, self.metrics[0])} {self.metrics[0].name}, {times}."
            for row in rows
            if row.name == first and row.pairs
        ]

    def _seconds(self, name: str) -> float:
        """Mean training time of a model in seconds; 0 without a finished run."""
        seconds = [found.seconds for found in self.runs if found.name == name]
        return fmean(seconds) if seconds else 0.0

    def _machines(self) -> set[str]:
        """Kinds of machines that trained the students."""
        students = [found.machine for found in self.runs if found.name != TEACHER]
        return {machine for each in students for machine in each.split(THEN) if machine}


def config_of(cfg: CfgNode) -> dict[str, Any]:
    """Dotted key -> value of a config, without the keys that do not change the result."""
    return {key: value for key, value in flat(cfg).items() if key not in PLACES}


def _as_json(found: Run, base: Mapping[str, Any]) -> dict[str, Any]:
    """A run's entry in compare.json; of its config only the values that differ from `base`."""
    own = {key: value for key, value in found.config.items() if base.get(key, ...) != value}
    return {**asdict(found), "config": own, "seconds_per_step": found.seconds_per_step}


def _seeds(runs: Sequence[Run]) -> str:
    numbers = sorted(found.seed for found in runs)
    return f"seed{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


@dataclass
class Added:
    """Runs that are read from other results files; each fits this comparison.

    Attributes:
        contest: this comparison.
        seeds: its seeds.
        made_from: the known digests of its input files, and its number format. Unknown values are
            filled in from the first added run, and later runs must agree with them.
        search: its search for loss weights; None without one.
        runs: the added runs.
        notes: the refused runs and the reasons.
    """

    contest: Contest
    seeds: Sequence[int]
    made_from: dict[str, str | None]
    search: Search | None = None
    runs: list[Run] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _configs: dict[str, dict[str, Any]] = field(default_factory=dict)

    def run(self, name: str, seed: int) -> Run | None:
        """The added run of a model at a seed; None if there is none."""
        return next((r for r in self.runs if (r.name, r.seed) == (name, seed)), None)

    def take(self, path: Path) -> None:
        """Adds every run of a results file that fits this comparison.

        Raises:
            UserError: the file is missing or damaged, is of another task or search, or no run fits.
        """
        values, runs = _read(path)
        search = self._check_file(path, values)
        refused: dict[tuple[str, str], list[Run]] = {}
        taken = []
        for found in runs:
            if reason := self._misfit(found):
                refused.setdefault((found.name, reason), []).append(found)
            else:
                taken.append(found)
        refusals = [
            f"{path}: {name}{'' if name == TEACHER else ', ' + _seeds(ones)} cannot be added: "
            f"{reason}"
            for (name, reason), ones in refused.items()
        ]
        if not taken:
            raise UserError(refusals[0] if refusals else f"{path}: it holds no finished run")
        self.notes += [f"{text}." for text in refusals]
        self.runs += taken
        for name in {found.name for found in taken} & set(search.chosen if search else ()):
            self.search.include(search, name)

    def _check_file(self, path: Path, values: Mapping[str, Any]) -> Search | None:
        task = self.contest.cfg.TASK
        if values["task"] != task:
            raise UserError(f"{path}: its TASK is {values['task']}, here it is {task}")
        search = Search(**values["tuning"]) if values["tuning"] else None
        there, here = (each.title if each else "not tuned" for each in (search, self.search))
        if there != here:
            raise UserError(f"{path}: its loss weights are {there}, here they are {here} (--tune)")
        digests = {search.digest, self.search.digest} - {None} if search else set()
        if len(digests) > 1:
            raise UserError(f"{path}: its search used other annotations of {search.data}")
        return search

    def _misfit(self, found: Run) -> str | None:
        """Why a run does not fit; None if it fits. Later runs must agree with runs that fit."""
        if found.name != TEACHER and found.seed not in self.seeds:
            return f"SEED is {found.seed}, here it is {', '.join(map(str, self.seeds))}"
        known = {key: self.made_from.get(key) for key in found.made_from}
        if found.name == TEACHER:
            known.pop(NUMBER_FORMAT, None)
        there, here = found.made_from.get(NUMBER_FORMAT), known.pop(NUMBER_FORMAT, None)
        if here is not None and there != here:
            return f"its {NUMBER_FORMAT} is {there or 'not known'}, here it is {here}"
        tuned = self.search and self.search.chosen.get(found.name, found.factor)
        if tuned and tuned != found.factor:
            return f"its weights are times {found.factor:g}, here they are times {tuned:g}"
        if changed := changed_input(found.made_from, known):
            return changed
        expected, ignore = self._expected(found)
        # Keys that are newer than the file have their defaults.
        config = {**config_of(get_cfg(self.contest.cfg.TASK)), **found.config}
        if changed := difference_of(config, expected, ignore=ignore):
            return "{} is {}, here it is {}".format(*changed)
        self._configs.setdefault(f"{found.name}@{found.factor:g}", config)
        for key, value in found.made_from.items():
            own = found.name == TEACHER and key == NUMBER_FORMAT
            if not own and self.made_from.get(key) is None:
                self.made_from[key] = value
        return None

    def _expected(self, found: Run) -> tuple[dict[str, Any], tuple[str, ...]]:
        """The config that a run must have, and the keys that may differ."""
        # Teacher and initial weights are compared by their digests; paths differ between machines.
        ignore = ("SEED", "DISTILL.TEACHER.CONFIG", "DISTILL.TEACHER.ONNX")
        if found.made_from.get("MODEL.WEIGHTS") is not None:
            ignore += ("MODEL.WEIGHTS",)
        before = self._configs.get(f"{found.name}@{found.factor:g}")
        if before is not None:
            return before, ignore
        if found.name == TEACHER:
            return config_of(self.contest.teacher_part().cfg), ignore
        if found.name in (PLAIN, PLAIN_LONGER, *self.contest.methods):
            part = self.contest.part(found.name, found.seed, factor=found.factor)
            return config_of(part.cfg), ignore
        return config_of(self.contest.cfg), (*ignore, LOSSES)


def _read(path: Path) -> tuple[dict[str, Any], list[Run]]:
    """Reads a results file and its runs.

    Raises:
        UserError: it is missing, damaged, no results file, or of an earlier version.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        old = "config" not in values or not all("made_from" in row for row in values["runs"])
        base = values.get("config", {})
        rows = [{**row, "config": {**base, **row.get("config", {})}} for row in values["runs"]]
        runs = [replace(Run.from_json(row), added=str(path), folder="") for row in rows]
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such results file") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: no results of a comparison; --add takes a compare.json"
        ) from error
    if old:
        raise UserError(
            f"{path}: it was written by an earlier version and lacks the configs of its runs; run "
            "its command again to rewrite it (finished runs are not repeated)"
        )
    return values, runs
