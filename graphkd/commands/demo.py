"""`graphkd demo`: the whole job on generated pages, within a number of minutes."""

import argparse
import shutil

from graphkd.commands import add_run, overrides_of

HELP = "Train a teacher, a plain and a distilled student on generated pages and compare them."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run(
        parser,
        nargs="?",
        help="a distilled run's yaml, trained as it says (default: the demo's own pair, planned "
        "for --minutes)",
    )
    parser.add_argument(
        "--minutes",
        type=float,
        metavar="N",
        help="time budget (default: 10, or that of an interrupted demo)",
    )
    parser.add_argument("--out", help="folder (default: output/demo)")
    parser.add_argument(
        "--fresh",
        action="store_true",
        help="start again instead of resuming the demo in that folder",
    )
    parser.add_argument("--json", metavar="FILE", help="write the table here, too")
    parser.epilog = """examples:
  graphkd demo
  graphkd demo --minutes 45
  graphkd demo --fresh
  graphkd demo configs/tiny/R18-MNv4s.yaml SEED 2 --out output/demo2

The demo times a few steps on this machine and chooses number of pages, page size and steps for the
budget. An interrupted demo goes on where it stopped. OUT/results.json holds the table,
OUT/report.html the pictures, OUT/plan.json what was chosen.
"""


def run(args: argparse.Namespace) -> int:
    from pathlib import Path

    from graphkd.config import project_path
    from graphkd.demo import PAIR, run_demo

    out = Path(args.out) if args.out else project_path("output/demo")
    # The plan is for the generated pages; other data train as the yaml says.
    config = args.config or (PAIR if args.data else None)
    run_demo(
        config,
        out=out,
        overrides=overrides_of(args),
        minutes=args.minutes,
        fresh=args.fresh,
    )
    if args.json:
        shutil.copyfile(out / "results.json", args.json)
    return 0
