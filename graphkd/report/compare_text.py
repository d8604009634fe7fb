"""A comparison of methods in words: sentences, the table, a Markdown document."""

from collections.abc import Mapping, Sequence

from tabulate import tabulate

from graphkd.compare.rows import PLAIN, TEACHER, Row, least_teacher
from graphkd.report.table import DASH
from graphkd.tasks.base import Metric

_FEWEST_SEEDS = 5
# Below it, the plain student's steps were slowed down by something else.
_LEAST_COST = 0.95


def headings(metrics: Sequence[Metric], chosen: Sequence[str] = ()) -> list[str]:
    """The columns of the table: the metric that decides comes first."""
    first, *others = metrics
    return [
        *("Model", first.title, "n", *(metric.title for metric in others)),
        *([f"{first.name} of {', '.join(chosen)}"] if chosen else []),
        "Gain over plain",
        *(["% of teacher"] if first.higher_is_better else []),
        *("Parameters (M)", "Steps", "s/step", "Step cost"),
    ]


def cells(row: Row, metrics: Sequence[Metric], chosen: Sequence[str] = ()) -> list[str]:
    """The texts of one row, in the order of `headings`."""
    first, *others = metrics
    spread = "" if row.score is None or row.score.std is None else f" ± {first.text(row.score.std)}"
    means = [(metric, row.values.get(metric.name)) for metric in others]
    share = DASH if row.share is None else f"{row.share:.0f}"
    return [
        row.name,
        first.text(row.score and row.score.mean) + spread,
        str(row.score.n if row.score else 0),
        *(metric.text(summary and summary.mean) for metric, summary in means),
        *([first.text(row.chosen)] if chosen else []),
        difference_text(row, first),
        *([share] if first.higher_is_better else []),
        f"{row.parameters / 1e6:.2f}",
        DASH if row.iterations is None else str(row.iterations),
        DASH if row.seconds_per_step is None else f"{row.seconds_per_step:.3g}",
        DASH if row.step_cost is None else f"{row.step_cost:.2f}",
    ]


def difference_text(row: Row, metric: Metric) -> str:
    """The mean gain, signed, with its interval, and the number of pairs where some are missing."""
    if row.difference is None or row.name in (TEACHER, PLAIN):
        return DASH
    text = signed(row.difference.mean, metric)
    if row.difference.low is not None:
        text += f" [{signed(row.difference.low, metric)}, {signed(row.difference.high, metric)}]"
    if row.score is not None and row.pairs < row.score.n:
        text += f" ({row.pairs} pair{'s' if row.pairs > 1 else ''})"
    return text


def signed(value: float, metric: Metric) -> str:
    """A difference with its sign and the metric's decimals; what rounds to zero has no sign."""
    text = f"{value:+.{metric.digits}f}"
    return text if float(text) else text[1:]


def table(
    rows: Sequence[Row],
    metrics: Sequence[Metric],
    chosen: Sequence[str] = (),
    *,
    style: str = "simple",
) -> str:
    """The table as text; `style` is a format of tabulate."""
    names = headings(metrics, chosen)
    return tabulate(
        [cells(row, metrics, chosen) for row in rows],
        headers=names,
        tablefmt=style,
        disable_numparse=True,
        colalign=("left", *["right"] * (len(names) - 1)),
    )


def sentences(rows: Sequence[Row], metric: Metric) -> list[str]:
    """What can be said of each method against the plain student, the best first, losses too."""
    known = [row for row in rows if row.name not in (TEACHER, PLAIN) and row.difference is not None]
    ranked = sorted(known, key=lambda row: -metric.gain(row.score.mean, 0.0))
    return [_sentence(row, metric) for row in ranked]


def _sentence(row: Row, metric: Metric) -> str:
    gain, seeds = row.difference, f"{row.pairs} seed{'s' if row.pairs > 1 else ''}"
    text = f"{row.name}: {metric.text(row.score.mean)} {metric.title}, "
    # Where lower is better, a signed difference could be read in both ways.
    text += "" if metric.higher_is_better else "a gain of "
    text += f"{signed(gain.mean, metric)} against the plain student"
    if gain.low is None:
        return f"{text} ({seeds}: too few for an interval)."
    text += f" (95 % interval {signed(gain.low, metric)} to {signed(gain.high, metric)}, {seeds})"
    return (
        f"{text}, which may be no difference at all." if gain.low <= 0 <= gain.high else f"{text}."
    )


def reading_notes(rows: Sequence[Row], metric: Metric) -> list[str]:
    """How to read the table, and warnings: a teacher that learnt nothing, few seeds, costs that
    cannot be.
    """
    notes = [_how_to_read(metric)]
    best = next((row.score.mean for row in rows if row.name == TEACHER and row.score), None)
    if metric.higher_is_better and best is not None and best < least_teacher(metric):
        notes.append(
            f"The teacher reaches {metric.text(best)} {metric.name}, too little for a share of it "
            "to mean anything: train it longer before you compare what it teaches."
        )
    most = max((row.pairs for row in rows), default=0)
    if 0 < most < _FEWEST_SEEDS:
        few = (
            f"{most} seed{'s' if most > 1 else ''}: an interval over so few is too narrow. Take "
            f"{_FEWEST_SEEDS} or more before you trust a small gain."
        )
        notes.append(few)
    if any(row.step_cost is not None and row.step_cost < _LEAST_COST for row in rows):
        notes.append(
            "A distilled step cannot be cheaper than a plain one: other programs ran beside some "
            "trainings. Do not trust their times; `graphkd bench step` measures a step."
        )
    return notes


def _how_to_read(metric: Metric) -> str:
    name = f"{metric.name} is {metric.about}" if metric.about else f"{metric.name} is on test data"
    direction = "" if metric.higher_is_better else "; lower is better, and a gain is a lower value"
    return (
        f"{name}{direction}: mean ± standard deviation over n seeds. The gain over the plain "
        "student pairs runs of the same seed, which share initial weights and data order; in "
        "brackets its 95 % bootstrap interval. Step cost is the duration of a training step "
        "relative to the plain student's. A dash means: not measured."
    )


def markdown(
    *,
    rows: Sequence[Row],
    metrics: Sequence[Metric],
    chosen: Sequence[str],
    about: Mapping[str, str],
    notes: Sequence[str],
) -> str:
    """The comparison as a Markdown document.

    Args:
        rows: the models; none gives a document that says so.
        metrics: the columns, the one that decides first.
        chosen: classes of the extra column.
        about: how the numbers were made.
        notes: further sentences for the reader.
    """
    first = metrics[0]
    parts = ["# Comparison of distillation methods", ""]
    parts += [f"- {_plain_text(text)}" for text in sentences(rows, first)] or [
        "No method has finished."
    ]
    parts += ["", "## Results", "", table(rows, metrics, chosen, style="github"), ""]
    parts += [f"{_plain_text(text)}\n" for text in [*reading_notes(rows, first), *notes]]
    if any(row.per_class for row in rows):
        parts += [f"## {first.name} by class", "", _class_table(rows, first), ""]
    parts += ["## How this was made", ""]
    parts += [f"- {key}: {_plain_text(value)}" for key, value in about.items()]
    return "\n".join(parts).replace("\n\n\n", "\n\n") + "\n"


def _class_table(rows: Sequence[Row], metric: Metric) -> str:
    scored = [row for row in rows if row.per_class]
    return tabulate(
        [
            [label, *(metric.text(row.per_class.get(label)) for row in scored)]
            for label in class_names(scored)
        ],
        headers=["Class", *(row.name for row in scored)],
        tablefmt="github",
        disable_numparse=True,
        colalign=("left", *["right"] * len(scored)),
    )


def class_names(rows: Sequence[Row]) -> list[str]:
    """All classes that a row has a value for."""
    return list(dict.fromkeys(label for row in rows for label in row.per_class))


def _plain_text(text: str) -> str:
    return " ".join(str(text).split())
