"""`graphkd data list`: every name with its pages and classes; the work is done in graphkd.data."""

import argparse
from pathlib import Path

from graphkd.commands.data.shown import console

HELP = "show all data set names, whether the data is there, pages and classes"
EPILOG = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares its one option."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the list as json")


def run(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    from rich.table import Table

    from graphkd.data.entries import datasets_root
    from graphkd.data.inventory import inventory
    from graphkd.io import write_json

    root = datasets_root()
    table = Table(title=f"data sets below {root} (* text class)")
    for column in ("name", "data", "pages"):
        table.add_column(column, no_wrap=True)
    table.add_column("classes", overflow="fold")
    found, last = inventory(root), None
    for row in found:
        classes = _classes(row.classes, row.text_classes)
        pages = "-" if row.pages is None else str(row.pages)
        table.add_row(row.name, row.data, pages, "as above" if classes == last else classes)
        last = classes
    console().print(table)
    if args.json:
        write_json(args.json, [asdict(row) for row in found])
    return 0


def _classes(classes: tuple[str, ...], texts: tuple[str, ...] | None) -> str:
    names = [f"{name}*" if name in (texts or ()) else name for name in classes]
    unknown = " (text classes unknown)" if texts is None else ""
    return f"{len(names)}: {', '.join(names)}{unknown}"
