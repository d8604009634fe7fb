"""`graphkd data list`: every name with its pages and classes; the work is done in graphkd.data."""

import argparse

from graphkd.commands.data.shown import console

HELP = "show all data set names, whether the data is there, pages and classes"
EPILOG = None


def add_arguments(_: argparse.ArgumentParser) -> None:
    """It takes none."""


def run(_: argparse.Namespace) -> int:
    from rich.table import Table

    from graphkd.data.entries import datasets_root
    from graphkd.data.inventory import inventory

    root = datasets_root()
    table = Table(title=f"data sets below {root} (* text class)")
    for column in ("name", "data", "pages"):
        table.add_column(column, no_wrap=True)
    table.add_column("classes", overflow="fold")
    for row in inventory(root):
        table.add_row(*row)
    console().print(table)
    return 0
