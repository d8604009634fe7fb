"""The command `graphkd lines`: makes pictures of single text lines, or a contact sheet of some."""

import argparse
from pathlib import Path

HELP = "make pictures of text lines with their texts, or a contact sheet of them"

EPILOG = """examples:
  graphkd lines make                              all splits, under $DETECTRON2_DATASETS
  graphkd lines make --lines 100000 --seed 9 --out my_lines
  graphkd lines make --texts corpus.txt --charset latin.txt --out my_lines
  graphkd lines sheet --out lines.png --lines 60
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares `make` and `sheet`."""
    parser.epilog = EPILOG
    actions = parser.add_subparsers(dest="action", required=True, metavar="{make,sheet}")
    make = actions.add_parser("make", help="write lines with their texts")
    make.add_argument("--split", choices=("train", "val", "test"), help="split (default: all)")
    make.add_argument(
        "--out", type=Path, help="write lines of your own choice to this new folder instead"
    )
    make.add_argument("--workers", type=int, help="with --out: processes (default: one per core)")
    sheet = actions.add_parser("sheet", help="draw a contact sheet of lines and their texts")
    sheet.add_argument(
        "--out", type=Path, default=Path("lines.png"), help="picture file (default lines.png)"
    )
    for action, default, note in ((make, 1000, "with --out: "), (sheet, 40, "")):
        action.add_argument("--lines", type=int, help=f"{note}how many (default {default})")
        action.add_argument("--seed", type=int, help=f"{note}the series (default 7)")
        action.add_argument(
            "--texts", type=Path, help=f"{note}draw lines of this text file (UTF-8)"
        )
        action.add_argument(
            "--charset", type=Path, help=f"{note}use its characters alone, an entry a line"
        )


def run(args: argparse.Namespace) -> int:
    """Runs the chosen action; returns the exit code."""
    import os

    from graphkd.errors import UserError
    from graphkd.synthesis import CROPS, ensure, generate_lines

    options = {"seed": 7 if args.seed is None else args.seed, **_own_texts(args)}
    if args.action == "sheet":
        return _draw_sheet(args, options)
    if args.out is not None:
        if args.split:
            raise UserError("--out writes lines of your own choice: leave out --split")
        lines = 1000 if args.lines is None else args.lines
        generate_lines(args.out, lines=lines, workers=args.workers, **options)
        print(args.out)
        return 0
    given = [
        name for name in ("lines", "seed", "texts", "charset", "workers") if getattr(args, name)
    ]
    if given:
        raise UserError(
            f"--{given[0]}: the named data sets are fixed; add --out DIR for lines of your choice"
        )
    root = Path(os.environ.get("DETECTRON2_DATASETS", "datasets"))
    for split in [args.split] if args.split else CROPS:
        print(ensure(root, "lines", split))
    return 0


def _own_texts(args: argparse.Namespace) -> dict[str, tuple[str, ...]]:
    """The texts and the characters that the user gives, as options of `generate_lines`."""
    from graphkd.errors import UserError

    options = {}
    if args.charset is not None:
        from graphkd.text.charset import read_charset

        options["characters"] = read_charset(args.charset).entries
    if args.texts is not None:
        try:
            lines = args.texts.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"--texts {args.texts}: cannot be read as UTF-8 ({error})") from None
        options["texts"] = tuple(line.strip() for line in lines if line.strip())
        if not options["texts"]:
            raise UserError(f"--texts {args.texts}: no line has text")
    return options


def _draw_sheet(args: argparse.Namespace, options: dict) -> int:
    """Writes a contact sheet of the first lines of a series."""
    from functools import partial

    from graphkd.errors import UserError
    from graphkd.synthesis import make_line
    from graphkd.synthesis.contact import line_sheet

    count = 40 if args.lines is None else args.lines
    if count < 1:
        raise UserError("--lines must be at least 1")
    if not args.out.parent.is_dir():
        raise UserError(f"--out: there is no folder {args.out.parent}")
    seed = options.pop("seed")
    line_sheet(partial(make_line, seed, **options), lines=count).save(args.out)
    print(args.out)
    return 0
