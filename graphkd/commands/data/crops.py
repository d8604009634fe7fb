"""`graphkd data cut` and `graphkd data charset`: pictures of single lines, and their characters."""

import argparse
from pathlib import Path

CUT_HELP = "cut the text lines out of pages, for training readers"
CUT_EPILOG = """SOURCE is a hub file, a folder of them (as `data convert` and `data harvest --labels
lines` write), the name of a set of text lines, or PAGE, ALTO, PaddleOCR or COCO files of pages with
texts. OUT/SPLIT.tsv lists the pictures and their texts. Lines without a text are counted and left
out.

exit code: 0 all pages were read, 1 some could not be used

examples:
  graphkd data cut my_page_xml --out datasets/mine --split 80,10,10 --group folder
  graphkd data cut datasets/reports --out datasets/reports_lines
  graphkd data register mine_train --crops datasets/mine/train.tsv"""
CHARSET_HELP = "count the characters of labels, and write a charset"
CHARSET_EPILOG = """examples:
  graphkd data charset lines_print_train
  graphkd data charset lines_print_train sroie_lines_train --least 3 -o latin.txt"""


def add_cut_arguments(parser: argparse.ArgumentParser) -> None:
    from graphkd.commands.data.convert import add_split_arguments

    parser.add_argument("source", metavar="SOURCE", help="file or folder of labels, or a name")
    parser.add_argument("--out", required=True, metavar="DIR", help="new folder to write")
    parser.add_argument("--images", metavar="DIR", help="folder of the images (default: SOURCE)")
    parser.add_argument("--kind", metavar="KIND", help="format of the labels, as in data convert")
    add_split_arguments(parser)
    parser.add_argument(
        "--format", choices=("jpg", "png"), default="jpg", help="image files (default jpg)"
    )
    parser.add_argument("--gt-txt", action="store_true", help="also write NAME.gt.txt files")


def cut(args: argparse.Namespace) -> int:
    from graphkd.commands.data.convert import print_sets, split_options
    from graphkd.data.convert import LINE_KINDS
    from graphkd.data.convert.cut import cut_lines
    from graphkd.errors import UserError

    if args.kind is not None and args.kind not in LINE_KINDS:
        raise UserError(f"--kind {args.kind}: known: {', '.join(LINE_KINDS)}")
    source = Path(args.source)
    if not source.exists():
        source = _hub_of(args.source)
    done = cut_lines(
        source,
        args.out,
        kind=args.kind or "",
        **split_options(args),
        picture=args.format,
        gt_txt=args.gt_txt,
    )
    return print_sets(done)


def _hub_of(name: str) -> Path:
    from graphkd.data.catalog import entry_of
    from graphkd.data.entries import require_data
    from graphkd.data.lines import require_lines
    from graphkd.errors import UserError

    require_lines(name)
    entry = entry_of(name)
    if entry is None:
        raise UserError(f"data set {name} was not registered from a hub file: give the file")
    require_data(entry)
    return Path(entry.json_file)


def add_charset_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "sets", nargs="+", metavar="NAME|FILE", help="registered names of line pictures, or lists"
    )
    parser.add_argument("-o", "--out", metavar="FILE", help="write the charset to this file")
    parser.add_argument(
        "--least", type=int, default=1, help="fewest occurrences of a character (default 1)"
    )
    parser.add_argument("--norm", default="nfc", help="Unicode form: nfc, nfkc or none")
    parser.add_argument("--half-width", action="store_true", help="full-width ASCII to ASCII")


def charset(args: argparse.Namespace) -> int:
    import unicodedata

    from graphkd.data.check.crops import LabelRules
    from graphkd.data.crops import published_texts
    from graphkd.errors import UserError
    from graphkd.text.charset import Charset, count_characters, normalise, write_charset

    LabelRules(norm=args.norm)  # refuses an unknown form
    texts = [text for name in args.sets for text in published_texts(name)]
    counts = count_characters(
        normalise(text, norm=args.norm, half_width=args.half_width) for text in texts
    )
    for char, count in counts.most_common():
        rare = "" if count >= args.least else "  left out"
        shown = char if char.isprintable() and char != " " else " "
        name = unicodedata.name(char, "no name")
        print(f"{count:8}  {shown}  U+{ord(char):04X}  {name}{rare}")
    kept = sorted(char for char, count in counts.items() if count >= args.least)
    if not kept:
        raise UserError("no character occurs often enough")
    found = Charset(tuple(kept))
    lost = sum(not found.covers(text) for text in texts)
    print(f"{len(kept)} of {len(counts)} characters; {lost} of {len(texts)} labels lose some")
    if args.out:
        write_charset(args.out, found)
        print(f"written to {args.out}")
    return 0
