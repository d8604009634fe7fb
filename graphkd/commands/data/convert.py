"""`graphkd data convert`: published and XML data sets to COCO json; the work is done in
graphkd.data.
"""

import argparse

from graphkd.commands.data.shown import ProgressBar

HELP = "convert a data set to COCO json"
EPILOG = """kinds:
  publaynet, doclaynet   COCO as published: checked, class order and folders as the catalog has them
  hj                     HJDataset: annotations/instances_*.json and the page folders
  prima                  PAGE XML (XML/ and Images/), six classes, 80/20 into train and val
  alto                   ALTO with SegmOnto zone tags, nine classes (--keep-labels: as tagged)
  voc                    Pascal VOC, classes as found

exit code: 0 all was converted, 1 something was left out or put right (it is listed)

examples:
  graphkd data convert publaynet publaynet_download --out datasets/publaynet
  graphkd data convert voc pages --out datasets/pages_voc --split 80,20 --group '^[^_]+'"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    kinds = ("publaynet", "doclaynet", "hj", "prima", "alto", "voc")
    parser.add_argument("kind", choices=kinds, metavar="KIND", help=", ".join(kinds))
    parser.add_argument("input", metavar="INPUT", help="folder (or single file) to convert")
    parser.add_argument("--out", required=True, metavar="DIR", help="new folder to write")
    parser.add_argument("--images", metavar="DIR", help="folder of the images (default: INPUT)")
    parser.add_argument("--copy", action="store_true", help="copy images instead of linking them")
    parser.add_argument("--split", metavar="A,B[,C]", help="shares of train, val and test")
    parser.add_argument(
        "--group",
        default="page",
        metavar="RULE",
        help="keep pages together in a split: page, folder, or a regular expression on the name",
    )
    parser.add_argument("--seed", type=int, default=0, help="another division into splits")
    parser.add_argument("--keep-labels", action="store_true", help="alto: classes as tagged")


def run(args: argparse.Namespace) -> int:
    from graphkd.data.check.problems import count_by_kind
    from graphkd.data.convert import COCO_KINDS, XML_KINDS, convert_coco, convert_xml
    from graphkd.errors import UserError

    if args.kind in COCO_KINDS:
        if args.split or args.keep_labels or args.group != "page":
            raise UserError(f"{args.kind} has splits and classes of its own: leave the option out")
        done = convert_coco(
            args.kind, args.input, args.out, images=args.images, copy=args.copy, stages=ProgressBar
        )
    else:
        done = convert_xml(
            XML_KINDS[args.kind],
            args.input,
            args.out,
            images=args.images,
            group=args.group,
            seed=args.seed,
            copy=args.copy,
            stages=ProgressBar,
            **_classes_and_shares(args),
        )
    for line in done.left_out[:20]:
        print(f"left out: {line}")
    if len(done.left_out) > 20:
        print(f"left out: {len(done.left_out) - 20} more")
    for line in (*done.remarks, *done.renamed):
        print(line)
    for problem in [p for p in done.problems if p.level != "note"][:20]:
        print(f"{problem.level}: {problem.line()}")
    for kind, count in count_by_kind(done.problems).items():
        print(f"{kind}: {count}")
    for split, (pages, boxes) in done.splits.items():
        print(f"{split}: {pages} pages, {boxes} boxes")
    print(f"classes: {', '.join(done.classes)}")
    print(f"written to {done.out}")
    return 0 if done.complete else 1


def _classes_and_shares(args: argparse.Namespace) -> dict:
    """Class list, relabelling and splits of an XML kind."""
    from graphkd.data.convert.alto import segmonto_class
    from graphkd.data.convert.split import parse_shares
    from graphkd.data.layouts import PRIMA_CLASSES, SEGMONTO_CLASSES

    shares = parse_shares(args.split) if args.split else None
    if args.kind == "prima":
        return {"classes": PRIMA_CLASSES, "shares": shares or parse_shares("80,20")}
    if args.kind == "alto" and not args.keep_labels:
        return {"classes": SEGMONTO_CLASSES, "relabel": segmonto_class, "shares": shares}
    return {"shares": shares}
