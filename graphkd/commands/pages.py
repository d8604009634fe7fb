"""The command `graphkd pages`: makes generated pages, or a contact sheet of some."""

import argparse
from pathlib import Path

HELP = "make generated document pages with exact boxes, or a contact sheet of them"

EPILOG = """examples:
  graphkd pages make                                  all, under $DETECTRON2_DATASETS
  graphkd pages make --name pages_tiny --split val    one split
  graphkd pages make --pages 50 --seed 9 --out my_pages
  graphkd pages sheet --out sheet.png --pages 12 --seed 7 --classes 5
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare `make` and `sheet`."""
    parser.epilog = EPILOG
    actions = parser.add_subparsers(dest="action", required=True, metavar="{make,sheet}")
    make = actions.add_parser("make", help="write pages with their annotations")
    make.add_argument(
        "--name", choices=("pages", "pages_tiny", "pages_mini"), help="data set (default: all)"
    )
    make.add_argument("--split", choices=("train", "val", "test"), help="split (default: all)")
    make.add_argument(
        "--out", type=Path, help="write pages of your own choice to this new folder instead"
    )
    make.add_argument("--pages", type=int, help="with --out: how many (default 100)")
    make.add_argument("--seed", type=int, help="with --out: the series (default 7)")
    make.add_argument(
        "--long-side", type=int, help="with --out: pixels of the longer side (default 1024)"
    )
    make.add_argument("--scan", type=float, help="with --out: share of scanned pages (default 0.3)")
    make.add_argument("--workers", type=int, help="with --out: processes (default: one per core)")
    sheet = actions.add_parser("sheet", help="draw a contact sheet with boxes")
    sheet.add_argument(
        "--out", type=Path, default=Path("pages.png"), help="picture file (default pages.png)"
    )
    sheet.add_argument("--pages", type=int, default=12, help="how many (default 12)")
    sheet.add_argument("--seed", type=int, default=7, help="the series (default 7)")
    sheet.add_argument(
        "--classes", type=int, choices=(11, 5), default=11, help="class list (default 11)"
    )


def run(args: argparse.Namespace) -> int:
    """Run the chosen action; returns the exit code."""
    return _sheet(args) if args.action == "sheet" else _make(args)


def _make(args: argparse.Namespace) -> int:
    import os

    from graphkd.errors import UserError
    from graphkd.synthesis import SPLITS, ensure, generate

    own = {
        name: value
        for name in ("pages", "seed", "long_side", "scan", "workers")
        if (value := getattr(args, name)) is not None
    }
    if args.out is not None:
        if args.name or args.split:
            raise UserError("--out writes pages of your own choice: leave out --name and --split")
        generate(args.out, **{"pages": 100, "seed": 7, **own})
        print(args.out)
        return 0
    if own:
        given = ", ".join("--" + name.replace("_", "-") for name in own)
        raise UserError(
            f"{given}: the named data sets are fixed; add --out DIR for pages of your own choice"
        )
    root = Path(os.environ.get("DETECTRON2_DATASETS", "datasets"))
    for name in [args.name] if args.name else SPLITS:
        for split in [args.split] if args.split else SPLITS[name]:
            print(ensure(root, name, split))
    return 0


def _sheet(args: argparse.Namespace) -> int:
    from graphkd.errors import UserError
    from graphkd.synthesis.folders import contact_sheet

    if args.pages < 1:
        raise UserError("--pages must be at least 1")
    if not args.out.parent.is_dir():
        raise UserError(f"--out: there is no folder {args.out.parent}")
    contact_sheet(pages=args.pages, seed=args.seed, classes=args.classes).save(args.out)
    print(args.out)
    return 0
