"""The report sections of text recognisers: the worst lines with their pictures, and confusions."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rapidfuzz.distance import Levenshtein

from graphkd.data.catalog import register_all
from graphkd.data.crops import published
from graphkd.data.mapper import read_for
from graphkd.errors import UserError
from graphkd.evaluation.reading import confusion, interval
from graphkd.report.page import Section, Table, fill
from graphkd.report.pictures import data_uri
from graphkd.report.stored import Options, StoredRun, item_sections

# A line takes much less room than the page that an option counts.
_LINES_A_PAGE = 6
_CONFUSIONS = 30
_LONGEST = 800  # side of a picture in pixels


def crop_sections(
    runs: Sequence[StoredRun], options: Options, *, say: Callable[[str], None]
) -> tuple[list[Section], list[str]]:
    """The sections of a report on readers; see `graphkd.tasks.base.Task.report_sections`."""
    main = runs[-1]
    items = main.evaluated("items.json")
    if not items:
        return item_sections(runs, count=options.pages)
    register_all()
    pictures, notes = {}, []
    try:
        pictures = {line["image_id"]: line for line in published(main.test_set or "")}
    except UserError as error:
        notes.append(f"The lines have no pictures: {error}.")
    sections = [confusion_section(main.name, items)]
    count = options.pages * _LINES_A_PAGE
    if count:
        say(f"reading the pictures of {min(count, len(items))} lines of {main.test_set}")
        others = {run.name: run.evaluated("items.json") or [] for run in runs}
        chosen = _chosen(items, count=count, worst=options.worst)
        sections.insert(0, lines_section(chosen, others, pictures, of=items, worst=options.worst))
    return sections, notes


def lines_section(
    chosen: Sequence[dict],
    runs: Mapping[str, Sequence[dict]],
    pictures: Mapping[Any, dict],
    *,
    of: Sequence[dict],
    worst: bool = True,
) -> Section:
    """Lines with their pictures, their texts and what every run read.

    Args:
        chosen: rows of `items.json` to show.
        runs: name -> all rows of a run; the last run is the one that the report is about.
        pictures: id -> dict of the data set; a line without one is shown as text alone.
        of: all rows that `chosen` is from.
        worst: whether these are the worst ones.
    """
    texts = {name: {row["id"]: row["text"] for row in rows} for name, rows in runs.items()}
    name = list(runs)[-1]
    scores = []
    for metric in ("exact", "CER"):
        value = interval(of, metric)
        within = ""
        if value.low is not None:
            within = f" (95 % interval {value.low:.2f} to {value.high:.2f})"
        scores.append(f"{metric} {value.mean:.2f} %{within}")
    kind = "that are read worst" if worst else "evenly spread over the set"
    text = f"{len(chosen)} of {len(of)} lines, {kind} by {name}: {', '.join(scores)}."
    lines = [
        {
            "name": f"{row['id']}",
            "truth": row["truth"],
            "picture": _picture(pictures.get(row["id"])),
            "found": [
                marked(row["truth"], own[row["id"]]) if row["id"] in own else [("", "–")]
                for own in texts.values()
            ],
        }
        for row in chosen
    ]
    body = fill("readings.html.j2", text=text, names=list(runs), lines=lines)
    return Section("lines", "The worst lines" if worst else "Lines", body)


def confusion_section(name: str, items: Sequence[dict]) -> Section:
    """The most frequent errors by character."""
    errors = confusion(items)
    total = sum(count for *_, count in errors)
    rows = [
        [(_shown(true), None), (_shown(read), None), (str(count), round(100 * count / total, 1))]
        for true, read, count in errors[:_CONFUSIONS]
    ]
    text = (
        f"{total} wrong characters of {name}, the {len(rows)} most frequent kinds; bars are shares "
        "of all."
    )
    table = Table(["true", "read", "count"], rows, words=2)
    return Section(
        "confusion", "Confused characters", fill("items.html.j2", text=text, table=table)
    )


def marked(truth: str, text: str) -> list[tuple[str, str]]:
    """What was read in parts: ("", right), ("wrong", characters) or ("missing", of the truth)."""
    parts = []
    for step in Levenshtein.opcodes(truth, text):
        if step.tag == "delete":
            parts.append(("missing", truth[step.src_start : step.src_end]))
        else:
            kind = "" if step.tag == "equal" else "wrong"
            parts.append((kind, text[step.dest_start : step.dest_end]))
    return parts


def _chosen(items: Sequence[dict], *, count: int, worst: bool) -> list[dict]:
    if not worst:
        return list(items[:: max(1, len(items) // count)][:count])
    return sorted(items, key=lambda row: (row["likeness"], -row["edits"]))[:count]


def _picture(line: dict | None) -> str:
    """The picture of a line as a data URI; empty where it cannot be read."""
    try:
        return data_uri(read_for(line, format="RGB"), longest=_LONGEST) if line else ""
    except UserError:
        return ""


def _shown(character: str) -> str:
    """A character as a table shows it."""
    names = {"": "(nothing)", " ": "(space)"}
    return names.get(character, character)
