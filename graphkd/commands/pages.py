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
    make, sheet = add_actions(parser, "pages", long_side=1024)
    make.add_argument(
        "--name", choices=("pages", "pages_tiny", "pages_mini"), help="data set (default: all)"
    )
    make.add_argument("--scan", type=float, help="with --out: share of scanned pages (default 0.3)")
    sheet.add_argument(
        "--classes",
        type=int,
        choices=(11, 5, 0),
        default=11,
        help="class list (default 11); 0 shows text lines",
    )


def add_actions(
    parser: argparse.ArgumentParser, what: str, *, long_side: int
) -> tuple[argparse.ArgumentParser, argparse.ArgumentParser]:
    """Declares `make` and `sheet` with the options that pages and scenes share."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="{make,sheet}")
    make = actions.add_parser("make", help=f"write {what} with their annotations")
    make.add_argument("--split", choices=("train", "val", "test"), help="split (default: all)")
    make.add_argument(
        "--out", type=Path, help=f"write {what} of your own choice to this new folder instead"
    )
    make.add_argument("--pages", type=int, help="with --out: how many (default 100)")
    make.add_argument("--seed", type=int, help="with --out: the series (default 7)")
    make.add_argument(
        "--long-side", type=int, help=f"with --out: pixels of the longer side (default {long_side})"
    )
    make.add_argument("--workers", type=int, help="with --out: processes (default: one per core)")
    sheet = actions.add_parser("sheet", help=f"draw a contact sheet of {what} and their boxes")
    sheet.add_argument(
        "--out", type=Path, default=Path(f"{what}.png"), help=f"picture file (default {what}.png)"
    )
    sheet.add_argument("--pages", type=int, default=12, help="how many (default 12)")
    sheet.add_argument("--seed", type=int, default=7, help="the series (default 7)")
    return make, sheet


def run(args: argparse.Namespace) -> int:
    """Run the chosen action; returns the exit code."""
    from graphkd.synthesis import SPLITS, make_page

    if args.action == "sheet":
        return draw_sheet(args, make_page, classes=args.classes or None)
    sets = {args.name: SPLITS[args.name]} if args.name else SPLITS
    own = {} if args.scan is None else {"scan": args.scan}
    return make_sets(args, {name: list(splits) for name, splits in sets.items()}, own=own)


def make_sets(args: argparse.Namespace, sets: dict[str, list[str]], *, own: dict) -> int:
    """Makes the named sets (name -> splits), or images of the user's choice with --out.

    `own` holds options of the command that go with --out alone.
    """
    import os

    from graphkd.errors import UserError
    from graphkd.synthesis import ensure, generate

    for option in ("pages", "seed", "long_side", "workers"):
        if getattr(args, option) is not None:
            own[option] = getattr(args, option)
    if args.out is not None:
        if getattr(args, "name", None) or args.split:
            raise UserError("--out writes images of your own choice: leave out --name and --split")
        generate(args.out, **{"pages": 100, "seed": 7, **own})
        print(args.out)
        return 0
    given = ", ".join("--" + option.replace("_", "-") for option in own if own[option] is not None)
    if given:
        raise UserError(
            f"{given}: the named data sets are fixed; add --out DIR for images of your own choice"
        )
    root = Path(os.environ.get("DETECTRON2_DATASETS", "datasets"))
    for name, splits in sets.items():
        for split in [args.split] if args.split else splits:
            print(ensure(root, name, split))
    return 0


def draw_sheet(args: argparse.Namespace, make, *, classes: int | None) -> int:
    """Writes a contact sheet of what `make(seed, index, long_side)` makes."""
    from functools import partial

    from graphkd.errors import UserError
    from graphkd.synthesis.contact import contact_sheet

    if args.pages < 1:
        raise UserError("--pages must be at least 1")
    if not args.out.parent.is_dir():
        raise UserError(f"--out: there is no folder {args.out.parent}")
    one = partial(make, args.seed, long_side=620)
    contact_sheet(one, pages=args.pages, classes=classes).save(args.out)
    print(args.out)
    return 0
