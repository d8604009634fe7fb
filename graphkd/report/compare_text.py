"""A comparison of methods in words: sentences, the table, a Markdown document; no charts and no
HTML.
"""

from collections.abc import Mapping, Sequence

from tabulate import tabulate

from graphkd.compare.rows import LEAST_TEACHER_AP, PLAIN, TEACHER, Row
from graphkd.report.table import DASH, tenths

_FEWEST_SEEDS = 5
_LEAST_COST = 0.95
_AP_NOTE = (
    "AP is COCO box AP on the test pages, in 0..100: mean ± standard deviation over n seeds. The "
    "difference to the plain student pairs runs of the same seed, which share initial weights and "
    "data order; in brackets its 95 % bootstrap interval. Step cost is the duration of a training "
    "step relative to the plain student's. A dash means: not measured."
)


def headings(chosen: Sequence[str] = ()) -> list[str]:
    """The columns of the table."""
    names = ["Model", "AP", "n", "AP50", "AP75"]
    if chosen:
        names.append(f"AP of {', '.join(chosen)}")
    return [
        *names,
        "Difference to plain",
        "% of teacher",
        "Parameters (M)",
        "Steps",
        "s/step",
        "Step cost",
    ]


def cells(row: Row, chosen: Sequence[str] = ()) -> list[str]:
    """The texts of one row, in the order of `headings`."""
    spread = "" if row.AP is None or row.AP.std is None else f" ± {row.AP.std:.1f}"
    texts = [
        row.name,
        tenths(row.AP and row.AP.mean) + spread,
        str(row.AP.n if row.AP else 0),
        tenths(row.AP50),
        tenths(row.AP75),
    ]
    if chosen:
        texts.append(tenths(row.chosen))
    return [
        *texts,
        difference_text(row),
        DASH if row.share is None else f"{row.share:.0f}",
        f"{row.parameters / 1e6:.2f}",
        DASH if row.iterations is None else str(row.iterations),
        DASH if row.seconds_per_step is None else f"{row.seconds_per_step:.3g}",
        DASH if row.step_cost is None else f"{row.step_cost:.2f}",
    ]


def difference_text(row: Row) -> str:
    """The mean difference, signed, with its interval and the number of pairs where some lack."""
    if row.difference is None or row.name in (TEACHER, PLAIN):
        return DASH
    text = f"{signed(row.difference.mean)}"
    if row.difference.low is not None:
        text += f" [{signed(row.difference.low)}, {signed(row.difference.high)}]"
    if row.AP is not None and row.pairs < row.AP.n:
        text += f" ({row.pairs} pair{'s' if row.pairs > 1 else ''})"
    return text


def signed(value: float) -> str:
    """A difference with its sign and one decimal; what rounds to zero has no sign."""
    text = f"{value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text


def table(rows: Sequence[Row], chosen: Sequence[str] = (), *, style: str = "simple") -> str:
    """The table as text; `style` is a format of tabulate."""
    names = headings(chosen)
    return tabulate(
        [cells(row, chosen) for row in rows],
        headers=names,
        tablefmt=style,
        disable_numparse=True,
        colalign=("left", *["right"] * (len(names) - 1)),
    )


def sentences(rows: Sequence[Row]) -> list[str]:
    """What can be said of each method against the plain student, best AP first, losses included."""
    known = [row for row in rows if row.name not in (TEACHER, PLAIN) and row.difference is not None]
    return [_sentence(row) for row in sorted(known, key=lambda row: -row.AP.mean)]


def _sentence(row: Row) -> str:
    gain, seeds = row.difference, f"{row.pairs} seed{'s' if row.pairs > 1 else ''}"
    text = f"{row.name}: {row.AP.mean:.1f} AP, {signed(gain.mean)} against the plain student"
    if gain.low is None:
        return f"{text} ({seeds}: too few for an interval)."
    text += f" (95 % interval {signed(gain.low)} to {signed(gain.high)}, {seeds})"
    return (
        f"{text}, which may be no difference at all." if gain.low <= 0 <= gain.high else f"{text}."
    )


def reading_notes(rows: Sequence[Row]) -> list[str]:
    """How to read the table, and warnings: a teacher that learnt nothing, few seeds, costs that
    cannot be.
    """
    notes = [_AP_NOTE]
    best = next((row.AP.mean for row in rows if row.name == TEACHER and row.AP), None)
    if best is not None and best < LEAST_TEACHER_AP:
        notes.append(
            f"The teacher reaches {best:.1f} AP, too little for a share of it to mean anything: "
            "train it longer before you compare what it teaches."
        )
    most = max((row.pairs for row in rows), default=0)
    if 0 < most < _FEWEST_SEEDS:
        few = (
            f"{most} seed{'s' if most > 1 else ''}: an interval over so few is too narrow. Take "
            f"{_FEWEST_SEEDS} or more before you trust a gap of a few AP."
        )
        notes.append(few)
    if any(row.step_cost is not None and row.step_cost < _LEAST_COST for row in rows):
        notes.append(
            "A distilled step cannot be cheaper than a plain one: other programs ran beside some "
            "trainings. Do not trust their times; `graphkd bench step` measures a step."
        )
    return notes


def markdown(
    *, rows: Sequence[Row], chosen: Sequence[str], about: Mapping[str, str], notes: Sequence[str]
) -> str:
    """The comparison as a Markdown document.

    Args:
        rows: the models; none gives a document that says so.
        chosen: classes of the extra column.
        about: how the numbers were made.
        notes: further sentences for the reader.
    """
    parts = ["# Comparison of distillation methods"]
    parts += [f"- {_plain_text(text)}" for text in sentences(rows)] or ["No method has finished."]
    parts += ["", "## Results", "", table(rows, chosen, style="github"), ""]
    parts += [f"{_plain_text(text)}\n" for text in [*reading_notes(rows), *notes]]
    parts += ["## AP by class", "", _class_table(rows), "", "## How this was made", ""]
    parts += [f"- {key}: {_plain_text(value)}" for key, value in about.items()]
    parts[1:1] = [""]
    return "\n".join(parts).replace("\n\n\n", "\n\n") + "\n"


def _class_table(rows: Sequence[Row]) -> str:
    scored = [row for row in rows if row.per_class]
    body = [
        [label, *(tenths(row.per_class.get(label)) for row in scored)]
        for label in class_names(scored)
    ]
    return tabulate(
        body,
        headers=["Class", *(row.name for row in scored)],
        tablefmt="github",
        disable_numparse=True,
        colalign=("left", *["right"] * len(scored)) if body else None,
    )


def class_names(rows: Sequence[Row]) -> list[str]:
    """All classes that a row has an AP for."""
    return list(dict.fromkeys(label for row in rows for label in row.per_class))


def _plain_text(text: str) -> str:
    return " ".join(str(text).split())
