"""`graphkd demo`: the whole job on generated pages, in minutes on a CPU."""

import argparse
import shutil

HELP = "Train a teacher, a plain and a distilled student on generated pages and compare them."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "config",
        nargs="?",
        default="configs/tiny/R18-MNv4s.yaml",
        help="a distilled run's yaml (default: %(default)s)",
    )
    parser.add_argument("overrides", nargs="*", metavar="KEY VALUE", help="config keys to change")
    parser.add_argument("--out", default="output/demo", help="folder (default: %(default)s)")
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

    from graphkd.demo import run_demo

    out = Path(args.out)
    run_demo(args.config, out=out, overrides=args.overrides, fresh=args.fresh)
    if args.json:
        shutil.copyfile(out / "results.json", args.json)
    return 0
