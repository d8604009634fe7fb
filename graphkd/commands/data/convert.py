"""`graphkd data convert`: data sets of regions to COCO json, of text lines to the hub format."""

import argparse
from pathlib import Path

HELP = "convert a data set to COCO json, text lines to a hub file, line pictures to a list"
EPILOG = """kinds:
  publaynet, doclaynet   COCO as published, in the class order and folders of the catalog
  hj                     HJDataset: annotations/instances_*.json and the page folders
  prima                  PAGE XML (XML/ and Images/), six classes, 80/20 into train and val
  alto                   ALTO with SegmOnto zone tags, nine classes (--keep-labels: as tagged)
  voc                    Pascal VOC, classes as found, difficult objects marked; a published
                         year (with ImageSets/Main) is divided into trainval and test by its lists

kinds of text lines (written as OUT/SPLIT.jsonl; splits as published, or by --split):
  icdar2013, icdar2015, mlt2017, sroie, casia10k, td500, tdtr, totaltext, ctw1500
                         as published: labels and images in folders with train, val or test
                         in their names, or lists such as train.txt
  page-lines, alto-lines, hocr-lines, paddle-lines, labelme-lines, coco-lines, yolo-lines
                         the formats of tools; coco-lines takes the json's own names as splits

kinds of line pictures (written as OUT/SPLIT.tsv with the pictures in OUT/SPLIT):
  tsv-crops              rows of name, tab and text, as PaddleOCR's labels for recognition
  gt-txt                 pairs of a picture and NAME.gt.txt, as for Kraken and Tesseract
  icdar2015-words        the official word task, task 4.3
  lmdb-crops             num-samples, image-%09d, label-%09d; needs graphkd[lmdb]

exit code: 0 all was converted, 1 something was left out or corrected (OUT/left_out.txt lists it)

examples:
  graphkd data convert publaynet publaynet_download --out datasets/publaynet
  graphkd data convert icdar2015 icdar2015_download --out datasets/icdar2015
  graphkd data convert page-lines my_pages --out datasets/mine --split 80,20
  graphkd data convert voc pages --out datasets/pages_voc --split 80,20 --group '^[^_]+'"""


REGIONS = ("publaynet", "doclaynet", "hj", "prima", "alto", "voc")
LINES = (
    *("icdar2013", "icdar2015", "mlt2017", "sroie", "casia10k", "td500", "tdtr", "totaltext"),
    *("ctw1500", "page-lines", "alto-lines", "hocr-lines", "paddle-lines", "labelme-lines"),
    *("coco-lines", "yolo-lines"),
)
CROPS = ("tsv-crops", "gt-txt", "icdar2015-words", "lmdb-crops")
_SHOWN = 20  # lines of each kind; the file has all
_LIST = "left_out.txt"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    kinds = (*REGIONS, *LINES, *CROPS)
    parser.add_argument("kind", choices=kinds, metavar="KIND", help=", ".join(kinds))
    parser.add_argument("input", metavar="INPUT", help="folder (or single file) to convert")
    parser.add_argument("--out", required=True, metavar="DIR", help="new folder to write")
    parser.add_argument("--images", metavar="DIR", help="folder of the images (default: INPUT)")
    parser.add_argument("--copy", action="store_true", help="copy images instead of linking them")
    add_split_arguments(parser)
    parser.add_argument(
        "--gt-txt", action="store_true", help="line pictures: also write NAME.gt.txt files"
    )
    parser.add_argument("--keep-labels", action="store_true", help="alto: classes as tagged")


def add_split_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares how pages are divided into splits, which `split_options` reads."""
    parser.add_argument("--split", metavar="A,B[,C]", help="shares of train, val and test")
    parser.add_argument(
        "--group",
        default="page",
        metavar="RULE",
        help="keep pages together in a split: page, folder, or a regular expression on the name",
    )
    parser.add_argument("--seed", type=int, default=0, help="another division into splits")


def split_options(args: argparse.Namespace) -> dict:
    """What the converters of lines and crops take of `add_split_arguments`, and the images."""
    from graphkd.data.convert.split import parse_shares

    shares = parse_shares(args.split) if args.split else None
    return {"images": args.images, "shares": shares, "group": args.group, "seed": args.seed}


def run(args: argparse.Namespace) -> int:
    from graphkd.data.check.problems import count_by_kind
    from graphkd.data.convert import COCO_KINDS, XML_KINDS, convert_coco, convert_xml
    from graphkd.errors import UserError
    from graphkd.io import write_text

    if args.gt_txt and args.kind not in CROPS:
        raise UserError("--gt-txt is for line pictures")
    if args.kind in CROPS:
        return _convert_crops(args)
    if args.kind in LINES:
        return _convert_lines(args)
    if args.kind in COCO_KINDS:
        if args.split or args.keep_labels or args.group != "page":
            raise UserError(f"{args.kind} has splits and classes of its own: leave the option out")
        done = convert_coco(args.kind, args.input, args.out, images=args.images, copy=args.copy)
    else:
        done = convert_xml(
            XML_KINDS[args.kind],
            args.input,
            args.out,
            images=args.images,
            group=args.group,
            seed=args.seed,
            copy=args.copy,
            **_classes_and_shares(args),
        )
    lost = [f"left out: {line}" for line in done.left_out]
    found = [f"{each.level}: {each.line()}" for each in done.problems if each.level != "note"]
    _print_first(lost, done.out)
    for line in (*done.remarks, *done.renamed):
        print(line)
    _print_first(found, done.out)
    if lost or found:
        write_text(done.out / _LIST, "".join(f"{line}\n" for line in lost + found))
    for kind, count in count_by_kind(done.problems).items():
        print(f"{kind}: {count}")
    for split, (pages, boxes) in done.splits.items():
        print(f"{split}: {pages} pages, {boxes} boxes")
    print(f"classes: {', '.join(done.classes)}")
    print(f"written to {done.out}")
    return 0 if done.complete else 1


def _convert_lines(args: argparse.Namespace) -> int:
    from graphkd.data.convert import convert_lines
    from graphkd.errors import UserError
    from graphkd.io import write_text

    if args.keep_labels:
        raise UserError(f"{args.kind} has no classes: leave --keep-labels out")
    done = convert_lines(
        args.kind,
        args.input,
        args.out,
        **split_options(args),
        copy=args.copy,
    )
    _print_first([f"left out: {line}" for line in done.left_out], done.out)
    if done.left_out:
        write_text(done.out / _LIST, "".join(f"{line}\n" for line in done.left_out))
    for what, count in done.repaired.items():
        print(f"{count} {what}")
    for split, (pages, lines, ignored) in done.splits.items():
        print(f"{split}: {pages} pages, {lines} lines, {ignored} of them ignored")
    repaired = sum(done.repaired.values())
    print(f"kept {done.kept} lines, repaired {repaired}, dropped {done.dropped}")
    if len(done.left_out) > done.dropped:
        print(f"left out {len(done.left_out) - done.dropped} pages or files")
    print(f"written to {done.out}")
    return 1 if done.left_out else 0


def _convert_crops(args: argparse.Namespace) -> int:
    from graphkd.data.convert.crops import convert_crops
    from graphkd.errors import UserError

    if args.keep_labels:
        raise UserError(f"{args.kind} has no classes: leave --keep-labels out")
    done = convert_crops(
        args.kind,
        args.input,
        args.out,
        **split_options(args),
        copy=args.copy,
        gt_txt=args.gt_txt,
    )
    return print_sets(done)


def print_sets(done) -> int:
    """Prints what was written and left out; the exit code."""
    from graphkd.io import write_text

    lost = [f"left out: {line}" for line in done.left_out]
    _print_first(lost, done.out)
    if lost:
        write_text(done.out / "left_out.txt", "".join(f"{line}\n" for line in lost))
    for what, count in sorted(done.counts.items()):
        print(f"left out: {count} {what}")
    for split, count in done.splits.items():
        print(f"{split}: {count} lines")
    print(f"written to {done.out}")
    return 1 if done.left_out else 0


def _print_first(lines: list[str], out: Path) -> None:
    """Prints the first of some lines; OUT/left_out.txt has all of them."""
    for line in lines[:_SHOWN]:
        print(line)
    if len(lines) > _SHOWN:
        print(f"and {len(lines) - _SHOWN} more, listed in {out / _LIST}")


def _classes_and_shares(args: argparse.Namespace) -> dict:
    """Class list, relabelling and splits of an XML kind."""
    from graphkd.data.convert.readers import segmonto_class
    from graphkd.data.convert.split import parse_shares
    from graphkd.data.convert.write import voc_lists
    from graphkd.data.layouts import PRIMA_CLASSES, SEGMONTO_CLASSES

    shares = parse_shares(args.split) if args.split else None
    if args.kind == "prima":
        return {"classes": PRIMA_CLASSES, "shares": shares or parse_shares("80,20")}
    if args.kind == "alto" and not args.keep_labels:
        return {"classes": SEGMONTO_CLASSES, "relabel": segmonto_class, "shares": shares}
    if args.kind == "voc" and shares is None:
        return {"lists": voc_lists(args.input)}
    return {"shares": shares}
