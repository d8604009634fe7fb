"""`graphkd data harvest`: training data from the text layer of PDFs."""

import argparse

HELP = "make training data from PDFs that a program wrote (their text layer)"
EPILOG = """OUT/train.jsonl and OUT/val.jsonl list the pages and their text lines; documents are not
divided. Scanned pages and pages without text are left out, and lines that are not seen on the page
are dropped and counted.

exit code: 0 all files were read, 1 some could not be read

examples:
  graphkd data harvest reports/ --labels lines --out datasets/reports
  graphkd data harvest a.pdf b.pdf --labels lines --dpi 200 --format jpg --out datasets/mine
  graphkd data register mine --lines datasets/mine/train.jsonl"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help="PDFs, and folders of PDFs")
    parser.add_argument("--labels", required=True, choices=("lines",), help="what to label")
    parser.add_argument("--out", required=True, metavar="DIR", help="new folder to write")
    parser.add_argument("--dpi", type=int, default=150, help="pixels per inch (default 150)")
    parser.add_argument(
        "--format", choices=("png", "jpg"), default="png", help="image files (default png)"
    )
    parser.add_argument(
        "--split", metavar="A,B[,C]", help="shares of train, val and test (default 90,10)"
    )
    parser.add_argument("--seed", type=int, default=0, help="another division into splits")
    parser.add_argument(
        "--password-file", metavar="FILE", help="file with the password of encrypted PDFs"
    )


def run(args: argparse.Namespace) -> int:
    import sys
    from pathlib import Path

    from graphkd.commands.predict import password_in
    from graphkd.data.convert.split import parse_shares
    from graphkd.data.harvest import harvest_lines
    from graphkd.errors import UserError

    if args.dpi < 36:
        raise UserError(f"--dpi {args.dpi}: no text can be read below 36")
    done = harvest_lines(
        args.files,
        args.out,
        dpi=args.dpi,
        picture=args.format,
        shares=parse_shares(args.split) if args.split else None,
        seed=args.seed,
        password=password_in(Path(args.password_file)) if args.password_file else None,
    )
    for failure in done.failures:
        print(f"not read: {failure}", file=sys.stderr)
    for what, count in sorted(done.counts.items()):
        if count:
            print(f"left out: {count} {what}")
    for split, (documents, pages, lines) in done.splits.items():
        print(f"{split}: {documents} documents, {pages} pages, {lines} lines")
    print(f"written to {done.out}")
    return 1 if done.failures else 0
