"""`graphkd demo`: the whole job on generated pages, in minutes on a CPU."""

import argparse
import shutil

from graphkd.commands import add_run, overrides_of

HELP = "Train a teacher, a plain and a distilled student on generated pages and compare them."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run(
        parser,
        nargs="?",
        default="configs/tiny/R18-MNv4s.yaml",
        help="a distilled run's yaml (default: %(default)s)",
    )
    parser.add_argument("--out", help="folder (default: output/demo)")
    parser.add_argument(
        "--fresh", action="store_true", help="forget an earlier demo in that folder"
    )
    parser.add_argument("--json", metavar="FILE", help="write the table here, too")
    parser.epilog = """examples:
  graphkd demo
  graphkd demo --fresh
  graphkd demo configs/tiny/R18-MNv4s.yaml SEED 2 --out output/demo2

An interrupted demo goes on where it stopped. OUT/results.json holds the table, OUT/report.html the
pictures.
"""


def run(args: argparse.Namespace) -> int:
    from pathlib import Path

    from graphkd.config import project_path
    from graphkd.demo import run_demo

    out = Path(args.out) if args.out else project_path("output/demo")
    run_demo(args.config, out=out, overrides=overrides_of(args), fresh=args.fresh)
    if args.json:
        shutil.copyfile(out / "results.json", args.json)
    return 0
