"""Tables of single runs and of comparisons as text, and sentences about gains.

The columns are the task's metrics, the primary metric first. Differences are gains: positive means
better, also for metrics where lower is better.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tabulate import tabulate

from graphkd.compare.rows import PLAIN, TEACHER, Row, least_teacher, share_of_teacher
from graphkd.tasks.base import Metric

DASH = "–"
_FEWEST_SEEDS = 5
# A distilled step does everything that a plain one does. A lower cost means that something else
# slowed the plain student down.
_LEAST_COST = 0.95


def format_table(rows: Sequence[dict], metrics: Sequence[Metric]) -> str:
    """The results of single runs as a table for a terminal.

    Args:
        rows: dicts with role, method, params, seconds and the metrics by name. Numbers that are
            missing, None or NaN become a dash.
        metrics: the columns, the primary metric first.
    """
    names = ["Role", "Method", *run_headings(metrics)]
    texts = [
        [str(row.get("role") or DASH), str(row.get("method") or DASH), *run_cells(row, metrics)]
        for row in rows
    ]
    return plain_table(texts, names, words=2)


def run_headings(metrics: Sequence[Metric]) -> list[str]:
    """The headings of the number columns in a table of single runs."""
    return [*(metric.title for metric in metrics), "Parameters (M)", "Training (s)"]


def run_cells(row: Mapping[str, Any], metrics: Sequence[Metric]) -> list[str]:
    """The cells of one run, in the order of `run_headings`."""
    parameters, seconds = number(row.get("params")), number(row.get("seconds"))
    return [
        *(metric.text(number(row.get(metric.name))) for metric in metrics),
        DASH if parameters is None else f"{parameters / 1e6:.1f}",
        DASH if seconds is None else f"{seconds:.{1 if seconds < 100 else 0}f}",
    ]


def number(value: Any) -> float | None:
    """The value as a float; None if it is not a finite number."""
    return float(value) if value is not None and math.isfinite(value) else None


def gain_sentences(rows: Sequence[dict], metric: Metric) -> list[str]:
    """Sentences about the gain or loss of each distilled student over the plain one.

    Returns:
        One sentence for each distilled row with a value; empty without a plain student.
    """
    plain = next((row for row in rows if row.get("role") == "student"), None)
    teacher = next((row for row in rows if row.get("role") == "teacher"), None)
    before = number(plain.get(metric.name)) if plain else None
    if before is None:
        return []
    distilled = [row for row in rows if row.get("role") == "distilled"]
    known = [row for row in distilled if number(row.get(metric.name)) is not None]
    return [_gain(row, before, teacher, metric, named=len(distilled) > 1) for row in known]


def _gain(row: dict, before: float, teacher: dict | None, metric: Metric, *, named: bool) -> str:
    after = number(row[metric.name])
    gain = metric.gain(after, before)
    who = "The distilled student"
    if named and row.get("method"):
        who += f" ({row['method']})"
    more, less = ("more", "less") if metric.higher_is_better else ("less", "more")
    size = f"{metric.text(abs(gain))} {metric.name}"
    value = f"{metric.text(after)} {metric.name}"
    plain = f"the plain student ({metric.text(before)})"
    if float(metric.text(abs(gain))) == 0:
        sentence = f"{who} reaches {value}, the same as the plain student: no gain here."
    elif gain > 0:
        sentence = f"{who} reaches {value}, {size} {more} than {plain}."
    else:
        only = "only " if metric.higher_is_better else ""
        sentence = (
            f"{who} reaches {only}{value}, {size} {less} than {plain}: distillation did not help "
            "here."
        )
    return sentence + _share_sentence(row, teacher, metric)


def _share_sentence(row: dict, teacher: dict | None, metric: Metric) -> str:
    best = number(teacher.get(metric.name)) if teacher else None
    share = share_of_teacher(number(row[metric.name]), best, metric=metric)
    if share is None:
        return ""
    sentence = f" That is {share:.0f} % of the teacher's {metric.text(best)} {metric.name}"
    small, big = number(row.get("params")), number(teacher.get("params"))
    if small and big:
        sentence += f", with {100 * small / big:.0f} % of its parameters"
    return sentence + "."


def headings(metrics: Sequence[Metric], chosen: Sequence[str] = ()) -> list[str]:
    """The headings of a comparison's table; the primary metric comes first."""
    first, *others = metrics
    return [
        *("Model", first.title, "n", *(metric.title for metric in others)),
        *([f"{first.name} of {', '.join(chosen)}"] if chosen else []),
        "Gain over plain",
        *(["% of teacher"] if first.higher_is_better else []),
        *("Parameters (M)", "Steps", "s/step", "Step cost"),
    ]


def cells(row: Row, metrics: Sequence[Metric], chosen: Sequence[str] = ()) -> list[str]:
    """The cells of one row, in the order of `headings`."""
    first, *others = metrics
    spread = "" if row.score is None or row.score.std is None else f" ± {first.text(row.score.std)}"
    means = [(metric, row.values.get(metric.name)) for metric in others]
    share = DASH if row.share is None else f"{row.share:.0f}"
    return [
        row.title,
        first.text(row.score and row.score.mean) + spread,
        str(row.score.n if row.score else 0),
        *(metric.text(summary and summary.mean) for metric, summary in means),
        *([first.text(row.chosen)] if chosen else []),
        difference_text(row, first),
        *([share] if first.higher_is_better else []),
        DASH if row.parameters is None else f"{row.parameters / 1e6:.2f}",
        DASH if row.iterations is None else str(row.iterations),
        DASH if row.seconds_per_step is None else f"{row.seconds_per_step:.3g}",
        DASH if row.step_cost is None else f"{row.step_cost:.2f}",
    ]


def difference_text(row: Row, metric: Metric) -> str:
    """The mean gain with its sign and interval, and the number of pairs if some are missing."""
    if row.difference is None or row.name in (TEACHER, PLAIN):
        return DASH
    text = signed(row.difference.mean, metric)
    if row.difference.low is not None:
        text += f" [{signed(row.difference.low, metric)}, {signed(row.difference.high, metric)}]"
    if row.score is not None and row.pairs < row.score.n:
        text += f" ({row.pairs} pair{'s' if row.pairs > 1 else ''})"
    return text


def signed(value: float, metric: Metric) -> str:
    """A difference with its sign and the metric's decimals; zero has no sign."""
    text = f"{value:+.{metric.digits}f}"
    return text if float(text) else text[1:]


def table(
    rows: Sequence[Row],
    metrics: Sequence[Metric],
    chosen: Sequence[str] = (),
    *,
    style: str = "simple",
) -> str:
    """The table of a comparison as text; `style` is a format of tabulate."""
    texts = [cells(row, metrics, chosen) for row in rows]
    return plain_table(texts, headings(metrics, chosen), style=style)


def sentences(rows: Sequence[Row], metric: Metric) -> list[str]:
    """A sentence about the gain or loss of each method over the plain student, the best first."""
    known = [row for row in rows if row.name not in (TEACHER, PLAIN) and row.difference is not None]
    ranked = sorted(known, key=lambda row: -metric.gain(row.score.mean, 0.0))
    return [_sentence(row, metric) for row in ranked]


def _sentence(row: Row, metric: Metric) -> str:
    gain, seeds = row.difference, f"{row.pairs} seed{'s' if row.pairs > 1 else ''}"
    text = f"{row.name}: {metric.text(row.score.mean)} {metric.title}, "
    # If lower is better, a signed difference without the word "gain" would be ambiguous.
    text += "" if metric.higher_is_better else "a gain of "
    text += f"{signed(gain.mean, metric)} against the plain student"
    if gain.low is None:
        return f"{text} ({seeds}: too few for an interval)."
    text += f" (95 % interval {signed(gain.low, metric)} to {signed(gain.high, metric)}, {seeds})"
    return (
        f"{text}, which may be no difference at all." if gain.low <= 0 <= gain.high else f"{text}."
    )


def reading_notes(rows: Sequence[Row], metric: Metric) -> list[str]:
    """How to read the table, and warnings about a teacher that learnt nothing, too few seeds, and
    impossible step costs.
    """
    notes = [_how_to_read(metric)]
    best = next((row.score.mean for row in rows if row.name == TEACHER and row.score), None)
    if metric.higher_is_better and best is not None and best < least_teacher(metric):
        notes.append(
            f"The teacher reaches only {metric.text(best)} {metric.name}, so no percentages of it "
            "are shown: train it longer before you compare methods."
        )
    most = max((row.pairs for row in rows), default=0)
    if 0 < most < _FEWEST_SEEDS:
        notes.append(
            f"{most} seed{'s' if most > 1 else ''}: an interval over so few is too narrow. Use "
            f"{_FEWEST_SEEDS} or more before you trust a small gain."
        )
    if any(row.step_cost is not None and row.step_cost < _LEAST_COST for row in rows):
        notes.append(
            "A distilled step cannot be cheaper than a plain one: other programs slowed some "
            "trainings down. Do not trust their times; `graphkd bench step` measures a step."
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


def weight_search(
    tuning: Mapping[str, Any], metric: Metric
) -> tuple[list[str], list[list[str]], str]:
    """The search for the best loss weights as a table.

    Args:
        tuning: the search as compare.json holds it.
        metric: the primary metric.

    Returns:
        The headings, one row per method, and a text that says how to read them.
    """
    factors = [f"{factor:g}" for factor in tuning["factors"]]
    rows = []
    for name, scores in tuning["scores"].items():
        best, stopped = tuning["chosen"].get(name), tuning["stopped"].get(name, {})
        texts = ["diverged" if f in stopped else metric.text(scores.get(f)) for f in factors]
        marks = [" (chosen)" if best == factor else "" for factor in tuning["factors"]]
        rows.append([name, *map("".join, zip(texts, marks, strict=True))])
    text = (
        f"{metric.name} on the validation set {tuning['data']} at the end of a training at seed "
        f"{tuning['seed']}, with all loss weights of a method times each factor. The chosen factor "
        "is used for all seeds; runs with other factors were not scored on the test set."
    )
    return ["Method", *(f"weights x {factor}" for factor in factors)], rows, text


def markdown(
    *,
    rows: Sequence[Row],
    metrics: Sequence[Metric],
    chosen: Sequence[str],
    about: Mapping[str, str],
    notes: Sequence[str],
    tuning: Mapping[str, Any] | None = None,
) -> str:
    """The comparison as a Markdown document; the arguments are those of `write_compare_report`."""
    first = metrics[0]
    parts = ["# Comparison of distillation methods", ""]
    parts += [f"- {_plain_text(text)}" for text in sentences(rows, first)] or [
        "No method has finished."
    ]
    parts += ["", "## Results", "", table(rows, metrics, chosen, style="github"), ""]
    parts += [f"{_plain_text(text)}\n" for text in [*reading_notes(rows, first), *notes]]
    if any(row.per_class for row in rows):
        parts += [f"## {first.name} by class", "", _class_table(rows, first), ""]
    if tuning:
        names, texts, how = weight_search(tuning, first)
        parts += ["## Search for the loss weights", "", how, ""]
        parts += [plain_table(texts, names, style="github"), ""]
    parts += ["## How this was made", ""]
    parts += [f"- {key}: {_plain_text(value)}" for key, value in about.items()]
    return "\n".join(parts).replace("\n\n\n", "\n\n") + "\n"


def _class_table(rows: Sequence[Row], metric: Metric) -> str:
    scored = [row for row in rows if row.per_class]
    labels = list(dict.fromkeys(label for row in scored for label in row.per_class))
    texts = [
        [label, *(metric.text(row.per_class.get(label)) for row in scored)] for label in labels
    ]
    return plain_table(texts, ["Class", *(row.name for row in scored)], style="github")


def plain_table(
    rows: Sequence[Sequence[Any]], names: Sequence[str], *, style: str = "simple", words: int = 1
) -> str:
    """A table as text. The first `words` columns hold words, the others numbers; `style` is a
    format of tabulate.
    """
    return tabulate(
        rows,
        headers=names,
        tablefmt=style,
        disable_numparse=True,  # it would drop the zeros of 29.0
        colalign=("left",) * words + ("right",) * (len(names) - words),
    )


def _plain_text(text: str) -> str:
    return " ".join(str(text).split())
