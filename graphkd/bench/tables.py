"""Measurements as text for a terminal; nothing is measured here."""

from collections.abc import Sequence

from tabulate import tabulate

DASH = "–"
LABELS = {
    "plain": "plain step",
    "teacher": "teacher forward",
    "distilled": "distilled step",
}


def step_table(result: dict) -> str:
    """The table of `graphkd bench step` and the sentences below it."""
    rows = []
    peaks = result["peak_mb"] or {}
    for part, label in LABELS.items():
        low, high = result["spread"][part]
        peak = peaks.get(part)
        rows.append([label, _ms(result[f"{part}_s"]), _range(low, high), _whole(peak)])
    low, high = result["spread"]["overhead"]
    lines = [
        _table(rows, ("part", "median ms", "quartiles ms", "peak MiB")),
        "",
        f"overhead: {result['overhead']:.3f} = distilled / (plain + teacher), quartiles of the "
        f"rounds {low:.3f} to {high:.3f}",
        *_memory_lines(result),
        *_step_notes(result),
        _machine_line(result),
    ]
    return "\n".join(lines)


def graph_table(result: dict, share: dict | None = None) -> str:
    """The table of `graphkd bench graph`."""
    methods = result["methods"]
    rows = [
        [size, *(_ms(values["seconds"][size]) for values in methods.values())]
        for size in result["settings"]["nodes"]
    ]
    for key, label in (("exponent", "growth"), ("exponent_large", "growth from 128 nodes")):
        rows.append([label, *(_number(values[key], 2) for values in methods.values())])
    lines = [_table(rows, ("nodes a page", *(f"{name} ms" for name in methods)))]
    lines.append("forward and backward of one page; growth p: seconds ~ nodes ** p")
    if share is not None:
        parts = ", ".join(f"{name} {100 * part:.1f} %" for name, part in share["share"].items())
        lines.append(
            f"share of a distilled step of {share['config']} ({_ms(share['distilled_s'])} ms) at "
            f"192 nodes a page: {parts}"
        )
    return "\n".join([*lines, _machine_line(result)])


def inference_table(result: dict) -> str:
    """The table of `graphkd bench infer`."""
    rows = [
        [
            row["file"],
            row["batch"],
            _ms(row["median_s"]),
            _ms(row["p95_s"]),
            f"{row['pages_per_s']:.2f}",
            f"{row['boxes_per_page']:.1f}",
        ]
        for row in result["models"]
    ]
    headings = ("model", "batch", "median ms", "p95 ms", "pages/s", "boxes/page")
    return "\n".join([_table(rows, headings), _machine_line(result)])


def data_table(result: dict) -> str:
    """The table of `graphkd bench data`."""
    rows = [
        [f"loader, {workers} workers", f"{rate:.2f} pages/s"]
        for workers, rate in result["loader_pages_per_s"].items()
    ]
    rows += [
        ["reading one page", f"{_ms(result['page_s'])} ms"],
        ["  of it decoding", f"{100 * result['decode_share']:.0f} %"],
        ["  of it resizing", f"{100 * result['resize_share']:.0f} %"],
        ["page synthesis, one process", f"{result['synthesis_pages_per_s']:.2f} pages/s"],
        [
            f"COCO evaluation of {result['coco_eval_pages']} pages",
            f"{result['coco_eval_s']:.2f} s",
        ],
    ]
    return "\n".join([_table(rows, ("what", "measured")), _machine_line(result)])


def _memory_lines(result: dict) -> list[str]:
    if not result["peak_mb"]:
        return []
    bound = result["memory_bound_mb"]
    if bound is None:
        return ["memory: this system does not tell the peak of a process"]
    verdict = "kept" if result["memory_ok"] else "MISSED"
    return [
        f"memory target {verdict}: distilled {_whole(result['peak_mb']['distilled'])} MiB, bound "
        f"{_whole(bound)} MiB = 1.25 x (plain peak + teacher weights "
        f"{_whole(result['teacher_weights_mb'])} MiB)"
    ]


def _step_notes(result: dict) -> list[str]:
    notes = []
    if result["random_teacher"]:
        notes.append(
            "the teacher has no weights yet: random ones, which find all background hard, so "
            "graphs are as large as their limits allow"
        )
    nodes = {name: value for name, value in result["log"].items() if name.endswith("/nodes")}
    if nodes:
        counts = ", ".join(f"{name.split('/')[1]} {value:.0f}" for name, value in nodes.items())
        notes.append(f"nodes a page: {counts}; regions a page: {result['regions']}")
    return notes


def _machine_line(result: dict) -> str:
    machine = result["machine"]
    place = machine.get("gpu") or machine["processor"]
    line = f"on {place}, {machine['threads']} threads, torch {machine['torch']}"
    load, cores = machine["load"], machine["all_cores"]
    if load is not None and load > cores + 0.5:
        line += f"; load {load} on {cores} cores: other processes disturb these times"
    return line


def _table(rows: Sequence[Sequence], headings: Sequence[str]) -> str:
    align = ("left", *["right"] * (len(headings) - 1))
    return tabulate(
        rows, headers=headings, tablefmt="simple", disable_numparse=True, colalign=align
    )


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.1f}"


def _range(low: float, high: float) -> str:
    return f"{_ms(low)} to {_ms(high)}"


def _whole(value: float | None) -> str:
    return DASH if value is None else f"{value:.0f}"


def _number(value: float | None, digits: int) -> str:
    return DASH if value is None else f"{value:.{digits}f}"
