"""`graphkd data check`: what is wrong with a data set, and a repaired copy of it."""

import argparse
from pathlib import Path

HELP = "check a data set, optionally repair a copy"
EPILOG = """exit code: 0 clean, 1 problems were found, 2 the command was wrong

examples:
  graphkd data check segmonto_train
  graphkd data check my.json --images scans --json report.json
  graphkd data check my.json --images scans --fix my_clean
  graphkd data check icdar2015_train
  graphkd data check lines.jsonl --fix my_clean
  graphkd data check lines_print_train --charset latin.txt"""

_DONE = {
    "error": "file refused",
    "skip": "page left out",
    "drop": "box or line left out",
    "repair": "corrected",
    "warn": "look at it",
    "note": "nothing",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "target",
        metavar="NAME|FILE",
        help="registered name, COCO json, hub file (.jsonl) or list of line pictures (.tsv, .txt)",
    )
    parser.add_argument("--charset", metavar="FILE", help="line pictures: characters to read")
    parser.add_argument(
        "--images", metavar="DIR", help="folder of the images (default: beside the json)"
    )
    parser.add_argument("--json", metavar="REPORT.json", help="write all findings to this file")
    parser.add_argument("--fix", metavar="OUT", help="write a repaired copy to this new folder")
    parser.add_argument(
        "--boxes",
        choices=("xywh", "corners"),
        help="how boxes are meant: x,y,width,height (as COCO says) or x1,y1,x2,y2",
    )
    parser.add_argument("--fast", action="store_true", help="look at headers, decode no image")
    parser.add_argument("--all", action="store_true", help="show every finding, notes too")


def run(args: argparse.Namespace) -> int:
    from graphkd.data.check.crops import LABELS_NAME, write_fixed_crops
    from graphkd.data.check.lines import HUB_NAME, check_lines, write_fixed_lines
    from graphkd.data.check.report import JSON_NAME, write_fixed
    from graphkd.errors import UserError
    from graphkd.io import NewFolder, write_json

    if args.fix:
        NewFolder(args.fix).check()
    kind, path, group = _texts(args)
    if args.charset and kind != "crops":
        raise UserError("--charset is for lists of line pictures")
    if kind == "lines":
        report, write = check_lines(path, decode=not args.fast), write_fixed_lines
    elif kind == "crops":
        report, write = _check_crops(args, path, group), write_fixed_crops
    else:
        report, write = _check_boxes(args), write_fixed
    _print_report(report, show_all=args.all)
    if args.json:
        write_json(Path(args.json), report.to_dict())
    if args.fix:
        rest = write(report.cleaned, args.fix)
        name = {"lines": HUB_NAME, "crops": LABELS_NAME}.get(kind, JSON_NAME)
        print(f"repaired copy: {args.fix}/{name} and {args.fix}/images")
        for problem in rest:
            print(f"  still: {problem.line()}")
        if not rest:
            print("  it checks clean")
    return 0 if report.clean else 1


def _texts(args: argparse.Namespace) -> tuple[str, Path | None, str]:
    """Kind of the data set, its file if it is one of texts, and the rule for its documents."""
    from graphkd.data.catalog import entry_of, require
    from graphkd.data.entries import require_data
    from graphkd.errors import UserError

    suffix, group = Path(args.target).suffix.lower(), ""
    if suffix == ".json":
        return "coco", None, ""
    if suffix in (".jsonl", ".tsv", ".txt"):
        kind, found = "lines" if suffix == ".jsonl" else "crops", Path(args.target)
    else:
        require(args.target)
        entry = entry_of(args.target)
        if entry is None or entry.kind == "coco":
            return "coco", None, ""
        require_data(entry)
        kind, found, group = entry.kind, Path(entry.json_file), entry.group
    if args.images or args.boxes:
        raise UserError("--images and --boxes are for COCO json, not for files of texts")
    return kind, found, group


def _check_crops(args: argparse.Namespace, path: Path, group: str):
    from graphkd.data.check.crops import check_crops
    from graphkd.text.charset import read_charset

    charset = read_charset(args.charset) if args.charset else None
    return check_crops(path, charset=charset, group=group, decode=not args.fast)


def _check_boxes(args: argparse.Namespace):
    from graphkd.data.catalog import entry_of
    from graphkd.data.check.report import check

    json_file, images, classes = _target(args)
    entry = entry_of(args.target) if classes is not None else None
    report = check(
        json_file,
        images,
        classes=classes,
        category_ids=None if entry is None else entry.category_ids,
        decode=not args.fast,
        corners=args.boxes == "corners",
    )
    if args.boxes == "xywh":
        problems = report.cleaned.problems
        report.cleaned.problems = [p for p in problems if p.kind != "boxes_look_like_corners"]
    return report


def _target(args: argparse.Namespace) -> tuple[Path, Path, tuple[str, ...] | None]:
    """Json, image folder and expected classes of a registered name or a file."""
    from graphkd.data.catalog import locate
    from graphkd.errors import UserError

    if not args.target.lower().endswith(".json"):
        found = locate(args.target)
        return found[0], Path(args.images) if args.images else found[1], found[2]
    json_file = Path(args.target)
    if not json_file.is_file():
        raise UserError(f"{json_file}: no such file")
    beside = json_file.parent / "images"
    images = Path(args.images) if args.images else beside if beside.is_dir() else json_file.parent
    if not images.is_dir():
        raise UserError(f"{images}: no such folder; --images is the folder of the page images")
    return json_file, images, None


def _print_report(report, *, show_all: bool) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from graphkd.data.check.problems import KINDS, count_by_kind

    terminal, cleaned = Console(), report.cleaned
    shown: dict[str, int] = {}
    for problem in cleaned.problems:
        shown[problem.kind] = shown.get(problem.kind, 0) + 1
        if show_all or (problem.level != "note" and shown[problem.kind] <= 10):
            line = f"{problem.level:6} {problem.kind}: {problem.line()}"
            terminal.print(Text(line), soft_wrap=True)
    counts = count_by_kind(cleaned.problems)
    if counts:
        table = Table()
        for column in ("kind", "count", "what is done", "meaning"):
            table.add_column(column)
        for kind, count in counts.items():
            table.add_row(kind, str(count), _DONE[KINDS[kind][0]], KINDS[kind][1])
        terminal.print(table)
    boxes = sum(len(page.annotations) for page in cleaned.pages)
    pages = f"{len(cleaned.pages)} of {report.pages} pages and "
    unit = {"lines": "lines", "crops": "lines"}.get(cleaned.extra.get("kind"), "boxes")
    if cleaned.extra.get("kind") == "crops":
        pages = ""  # each line is a picture of its own
    print(
        f"{report.json_file}: {pages}{boxes} of {report.boxes} {unit} are usable; "
        f"{'clean' if report.clean else 'problems were found'}"
    )
