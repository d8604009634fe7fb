"""Which pages, page size and steps of the demo fit into a time budget on this machine."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path

from graphkd.errors import COMMAND, UserError
from graphkd.io import write_json
from graphkd.synthesis import SPLITS

# Steps are timed with batches of (longer side of the pages in pixels, pages).
SMALL, FULL = (160, 2), (320, 4)
MARGIN = 1.15  # steps are timed for seconds on made-up pages, and the demo trains for minutes
START, REPORT = 20.0, 20.0  # seconds for imports and models, and for pictures; see `total`


@dataclass(frozen=True)
class Level:
    """One size of the demo.

    Attributes:
        size: longer side of the pages in pixels.
        batch: pages a step. When time is short, many steps of two small pages teach more than
            fewer steps of four: the teacher got 16.1 AP instead of 11.5 in about the same time.
        pages: the set of generated pages.
        teacher_steps: steps of the teacher, about 1.6 times those of a student: it has to be
            clearly better than the plain student, or there is nothing to distil.
        student_steps: steps of the plain and of the distilled student, each.
        scores: AP of teacher, plain and distilled student on the test pages of that set, at
            seed 1; None where it was not tried.
    """

    size: int
    batch: int
    pages: str
    teacher_steps: int
    student_steps: int
    scores: tuple[float, float, float] | None = None

    def text(self) -> str:
        """The level in one phrase."""
        count = SPLITS[self.pages]["train"].pages
        return (
            f"{count} pages of {self.size} px, {self.teacher_steps} steps of {self.batch} for the "
            f"teacher and {self.student_steps} for each student"
        )


LEVELS = (
    Level(160, 2, "pages_mini", 360, 220),
    Level(160, 2, "pages_mini", 540, 330),
    Level(160, 2, "pages_tiny", 760, 470),
    Level(224, 4, "pages_tiny", 480, 300, (21.4, 1.5, 14.5)),
    Level(320, 4, "pages_tiny", 800, 500, (45.1, 14.1, 34.0)),
    Level(320, 4, "pages_tiny", 1600, 1500),
    Level(320, 4, "pages_tiny", 3000, 4000, (73.7, 63.4, 71.7)),
)


@dataclass(frozen=True)
class StepTimes:
    """Seconds of one training step of each model."""

    teacher: float
    plain: float
    distilled: float


@dataclass(frozen=True)
class Pace:
    """What was measured on a machine.

    Attributes:
        small: step times of `SMALL` batches.
        full: step times of `FULL` batches.
        page: seconds to make one page, with all cores.
    """

    small: StepTimes
    full: StepTimes
    page: float

    def at(self, size: int, batch: int) -> StepTimes:
        """Step times of another batch: a fixed part, and one that grows with its pixels."""
        low, high, own = (side**2 * pages for side, pages in (SMALL, FULL, (size, batch)))
        share = (own - low) / (high - low)
        pairs = zip(vars(self.small).values(), vars(self.full).values(), strict=True)
        # Timing noise must not make a larger batch cheaper than a smaller one.
        return StepTimes(*(first + max(second - first, 0.0) * share for first, second in pairs))


@dataclass(frozen=True)
class DemoPlan:
    """What the demo does: a level, and the seconds that it is expected to take."""

    level: Level
    seconds: float


def total(level: Level, pace: Pace, *, missing: dict[str, int]) -> float:
    """Seconds that a level takes from here on, pages and report included.

    Args:
        level: the level.
        pace: the measured times.
        missing: pages that are still to be made, by set.
    """
    steps = pace.at(level.size, level.batch)
    training = level.teacher_steps * steps.teacher
    training += level.student_steps * (steps.plain + steps.distilled)
    # Each model sees the validation pages twice and the test pages once. A forward pass alone, one
    # page at a time, takes about half as long as a page's share of a training step.
    splits = SPLITS[level.pages]
    pages = 2 * splits["val"].pages + splits["test"].pages
    forward = (steps.teacher + 2 * steps.plain) / level.batch * 0.5
    # What else there is takes longer on slow machines, too: ten full steps stand for that.
    rest = START + REPORT + 10 * pace.full.teacher
    return MARGIN * (training + pages * forward) + missing[level.pages] * pace.page + rest


def plan_demo(
    pace: Pace, *, minutes: float, spent: float = 0.0, missing: dict[str, int] | None = None
) -> DemoPlan:
    """The largest level that fits into the budget.

    Args:
        pace: the measured times.
        minutes: the budget, from the start of the command.
        spent: seconds of it that are gone.
        missing: pages that are still to be made, by set; None for all.

    Raises:
        UserError: not even the smallest level fits; the message says how many minutes it needs.
    """
    missing = every_page() if missing is None else missing
    for level in reversed(LEVELS):
        seconds = spent + total(level, pace, missing=missing)
        if seconds <= 60 * minutes:
            return DemoPlan(level, seconds)
    raise UserError(
        f"{minutes:g} minutes are too few for a demo on this machine; the smallest one needs about "
        f"{math.ceil(seconds / 60)}: {COMMAND} demo --minutes {math.ceil(seconds / 60)}"
    )


def every_page() -> dict[str, int]:
    """How many pages each set has."""
    return {name: sum(split.pages for split in splits.values()) for name, splits in SPLITS.items()}


def describe(plan: DemoPlan, pace: Pace, *, minutes: float) -> list[str]:
    """What was measured, what was chosen, and what more time would give, for the terminal."""
    full = pace.full
    lines = [
        f"on this machine a step of the full demo takes the teacher {full.teacher:.2f} s, the "
        f"plain student {full.plain:.2f} s and the distilled one {full.distilled:.2f} s",
        f"chosen for {minutes:g} minutes: {plan.level.text()}; about "
        f"{math.ceil(plan.seconds / 60)} minutes in all",
    ]
    above = LEVELS[LEVELS.index(plan.level) + 1 :]
    for level in {id(each): each for each in (*above[:1], *above[-1:])}.values():
        need = math.ceil(total(level, pace, missing=every_page()) / 60) + 1
        lines.append(f"--minutes {need}: {level.text()}{_seen(level)}")
    return lines


def _seen(level: Level) -> str:
    if level.scores is None:
        return ""
    names = ("teacher", "plain student", "distilled student")
    seen = ", ".join(f"{name} {score}" for name, score in zip(names, level.scores, strict=True))
    return f"; seen then: {seen} AP"


def _page_overrides(level: Level, anchors: list[list[int]]) -> list[str]:
    """Config keys for the pages; anchors, which are those of full pages, shrink with the page."""
    sizes = [[round(side * level.size / FULL[0]) for side in group] for group in anchors]
    size = str(level.size)
    keys = {"MODEL.ANCHOR_GENERATOR.SIZES": str(sizes), "SOLVER.IMS_PER_BATCH": str(level.batch)}
    for split in ("TRAIN", "TEST"):
        keys |= {f"INPUT.MIN_SIZE_{split}": size, f"INPUT.MAX_SIZE_{split}": size}
    keys["INPUT.MIN_SIZE_TRAIN"] = f"[{size}]"
    for split in ("TRAIN", "VAL", "TEST"):
        keys[f"DATASETS.{split}"] = f"('{level.pages}_{split.lower()}',)"
    return [word for pair in keys.items() for word in pair]


def teacher_overrides(level: Level, anchors: list[list[int]]) -> list[str]:
    """Config keys of the level's teacher; those of the full demo are its yaml's own."""
    steps = level.teacher_steps
    schedule = {"SOLVER.MAX_ITER": steps, "SOLVER.WARMUP_ITERS": steps // 20}
    schedule["TEST.EVAL_PERIOD"] = steps // 2
    return [*_page_overrides(level, anchors), *_words(schedule)]


def student_overrides(level: Level, anchors: list[list[int]]) -> list[str]:
    """Config keys of the level's students; those of the full demo are its yaml's own."""
    steps = level.student_steps
    schedule = {"SOLVER.MAX_ITER": steps, "SOLVER.WARMUP_ITERS": steps // 10}
    schedule |= {"TEST.EVAL_PERIOD": steps // 2, "DISTILL.RAMP": steps * 12 // 100}
    return [*_page_overrides(level, anchors), *_words(schedule)]


def _words(keys: dict[str, int]) -> list[str]:
    return [word for key, value in keys.items() for word in (key, str(value))]


def save_plan(path: Path, plan: DemoPlan, pace: Pace, *, minutes: float) -> None:
    """Writes plan.json, from which an interrupted demo goes on."""
    write_json(path, {"minutes": minutes, "pace": asdict(pace), **asdict(plan)})


def read_plan(values: dict) -> tuple[DemoPlan, float]:
    """Plan and budget from the content of plan.json.

    Raises:
        KeyError, TypeError: it is not what `save_plan` writes.
    """
    scores = values["level"]["scores"]
    level = Level(**{**values["level"], "scores": scores and tuple(scores)})
    return DemoPlan(level, float(values["seconds"])), float(values["minutes"])
