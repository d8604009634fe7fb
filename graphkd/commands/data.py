"""`graphkd data`: list, register, check and convert data sets; the work is done in graphkd.data."""

import argparse
from pathlib import Path

HELP = "list, register, check, repair and convert data sets"

_EPILOG = """examples:
  graphkd data list
  graphkd data register letters --json letters.json --images scans --text-classes text,title
  graphkd data check letters
  graphkd data check letters.json --images scans --fix letters_clean
  graphkd data convert prima PRImA_folder --out datasets/prima
  graphkd data convert alto my_alto_folder --out datasets/mine --split 70,15,15 --group folder

Data sets lie below $DETECTRON2_DATASETS (default: the folder `datasets`)."""

_CHECK_EPILOG = """exit code: 0 clean, 1 problems were found, 2 the command was wrong

examples:
  graphkd data check segmonto_train
  graphkd data check my.json --images scans --json report.json
  graphkd data check my.json --images scans --fix my_clean"""

_CONVERT_EPILOG = """kinds:
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
    """Add the sub-commands and their options."""
    parser.epilog = _EPILOG
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, text: str, epilog: str | None = None) -> argparse.ArgumentParser:
        return actions.add_parser(
            name,
            help=text,
            description=text,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    action("list", "show all data set names, whether the data is there, pages and classes")
    _register_arguments(action("register", "enter a COCO json of your own under a name"))
    _check_arguments(action("check", "check a data set, optionally repair a copy", _CHECK_EPILOG))
    _convert_arguments(action("convert", "convert a data set to COCO json", _CONVERT_EPILOG))


def _register_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="name for DATASETS.TRAIN and DATASETS.TEST")
    parser.add_argument("--json", required=True, metavar="FILE", help="COCO json")
    parser.add_argument("--images", required=True, metavar="DIR", help="folder of the images")
    parser.add_argument("--text-classes", metavar="A,B", help="classes that hold running text")
    parser.add_argument("--val-json", metavar="FILE", help="also register NAME_val with this json")
    parser.add_argument("--val-images", metavar="DIR", help="its images (default: --images)")


def _check_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", metavar="NAME|FILE.json", help="registered name or COCO json")
    parser.add_argument(
        "--images", metavar="DIR", help="folder of the images (default: beside the json)"
    )
    parser.add_argument("--json", metavar="REPORT.json", help="write all findings to this file")
    parser.add_argument("--fix", metavar="OUT", help="write a repaired copy to this new folder")
    parser.add_argument(
        "--boxes",
        choices=("xywh", "corners"),
        help="how boxes are meant: x,y,width,height (as COCO says) or x1,y1,x2,y2",
    )
    parser.add_argument("--fast", action="store_true", help="look at headers, decode no image")
    parser.add_argument("--all", action="store_true", help="show every finding, notes too")


def _convert_arguments(parser: argparse.ArgumentParser) -> None:
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
    """Run one sub-command; returns the exit code."""
    actions = {"list": _list, "register": _register, "check": _check, "convert": _convert}
    return actions[args.action](args)


def _list(_: argparse.Namespace) -> int:
    from rich.table import Table

    from graphkd.data.entries import datasets_root
    from graphkd.data.inventory import inventory

    root = datasets_root()
    table = Table(title=f"data sets below {root} (* text class)")
    for column in ("name", "data", "pages"):
        table.add_column(column, no_wrap=True)
    table.add_column("classes", overflow="fold")
    for row in inventory(root):
        table.add_row(*row)
    _console().print(table)
    return 0


def _register(args: argparse.Namespace) -> int:
    from graphkd.data.catalog import add_own
    from graphkd.data.coco import read_categories
    from graphkd.data.entries import REGISTERED_FILE, datasets_root
    from graphkd.errors import UserError

    texts = None
    if args.text_classes is not None:
        texts = [name.strip() for name in args.text_classes.split(",") if name.strip()]
    sets = [(args.name, args.json, args.images)]
    if args.val_json:
        sets.append((f"{args.name}_val", args.val_json, args.val_images or args.images))
        if read_categories(args.json) != read_categories(args.val_json):
            raise UserError(f"{args.json} and {args.val_json} have different categories")
    elif args.val_images:
        raise UserError("--val-images goes with --val-json")
    for name, json_file, images in sets:
        entry = add_own(name, json_file, images, text_classes=texts)
        print(f"{name}: {len(entry.classes)} classes: {', '.join(entry.classes)}")
    print(f"written to {datasets_root() / REGISTERED_FILE}")
    if texts is None:
        print("text classes are unknown; add them with --text-classes A,B")
    return 0


def _check(args: argparse.Namespace) -> int:
    from graphkd.data.check.fix import write_fixed
    from graphkd.data.check.report import check
    from graphkd.errors import UserError

    json_file, images, classes = _target(args)
    if args.fix and Path(args.fix).exists() and any(Path(args.fix).iterdir()):
        raise UserError(f"{args.fix} is already there and not empty; name a new folder")
    with _bar("checking images", _count_images(json_file)) as advance:
        report = check(
            json_file,
            images,
            classes=classes,
            decode=not args.fast,
            corners=args.boxes == "corners",
            advance=advance,
        )
    if args.boxes == "xywh":
        problems = report.cleaned.problems
        report.cleaned.problems = [p for p in problems if p.kind != "boxes_look_like_corners"]
    _print_report(report, show_all=args.all)
    if args.json:
        from graphkd.evaluation.files import write_json

        write_json(Path(args.json), report.to_dict())
    if args.fix:
        with _bar("writing the copy", len(report.cleaned.pages)) as advance:
            rest = write_fixed(report.cleaned, args.fix, advance=advance)
        print(f"repaired copy: {args.fix}/annotations.json and {args.fix}/images")
        for problem in rest:
            print(f"  still: {problem.line()}")
        if not rest:
            print("  it checks clean")
    return 0 if report.clean else 1


def _target(args: argparse.Namespace) -> tuple[Path, Path, tuple[str, ...] | None]:
    """Json, image folder and expected classes of a registered name or a file."""
    from graphkd.data.catalog import locate
    from graphkd.errors import UserError

    if not args.target.lower().endswith(".json"):
        found = locate(args.target)
        return found[0], Path(args.images) if args.images else found[1], found[2]
    json_file = Path(args.target)
    if not json_file.is_file():
        raise UserError(f"{json_file}: no such file")
    beside = json_file.parent / "images"
    images = Path(args.images) if args.images else beside if beside.is_dir() else json_file.parent
    if not images.is_dir():
        raise UserError(f"{images}: no such folder; --images is the folder of the page images")
    return json_file, images, None


def _print_report(report, *, show_all: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    from graphkd.data.check.problems import KINDS, count_by_kind

    console, cleaned = _console(), report.cleaned
    shown: dict[str, int] = {}
    for problem in cleaned.problems:
        shown[problem.kind] = shown.get(problem.kind, 0) + 1
        if show_all or (problem.level != "note" and shown[problem.kind] <= 10):
            line = f"{problem.level:6} {problem.kind}: {problem.line()}"
            console.print(Text(line), soft_wrap=True)
    counts = count_by_kind(cleaned.problems)
    if counts:
        table = Table()
        for column in ("kind", "count", "what is done", "meaning"):
            table.add_column(column)
        for kind, count in counts.items():
            table.add_row(kind, str(count), _DONE[KINDS[kind][0]], KINDS[kind][1])
        console.print(table)
    boxes = sum(len(page.annotations) for page in cleaned.pages)
    print(
        f"{report.json_file}: {len(cleaned.pages)} of {report.pages} pages and "
        f"{boxes} of {report.boxes} boxes are usable; "
        f"{'clean' if report.clean else 'problems were found'}"
    )


_DONE = {
    "error": "file refused",
    "skip": "page left out",
    "drop": "box left out",
    "repair": "put right",
    "warn": "look at it",
    "note": "nothing",
}


def _convert(args: argparse.Namespace) -> int:
    from graphkd.data.check.problems import count_by_kind
    from graphkd.data.convert import COCO_KINDS, XML_KINDS, convert_coco, convert_xml
    from graphkd.errors import UserError

    if args.kind in COCO_KINDS:
        if args.split or args.keep_labels or args.group != "page":
            raise UserError(f"{args.kind} has splits and classes of its own: leave the option out")
        with _bar("looking at pages", None) as advance:
            done = convert_coco(
                args.kind, args.input, args.out, images=args.images, copy=args.copy, advance=advance
            )
    else:
        with _bar("reading XML", None) as advance:
            done = convert_xml(
                XML_KINDS[args.kind],
                args.input,
                args.out,
                images=args.images,
                group=args.group,
                seed=args.seed,
                copy=args.copy,
                advance=advance,
                **_classes_and_shares(args),
            )
    for line in done.left_out[:20]:
        print(f"left out: {line}")
    if len(done.left_out) > 20:
        print(f"left out: {len(done.left_out) - 20} more")
    for line in done.remarks:
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


def _count_images(json_file: Path) -> int | None:
    """A total for the bar; None for big files, which are not read twice."""
    from graphkd.data.check import NotCoco, read_document

    if json_file.stat().st_size > 50_000_000:
        return None
    try:
        return len(read_document(json_file)["images"])
    except NotCoco:
        return None


class _bar:  # noqa: N801  (used as a function)
    """A progress bar on the terminal; nothing where output is not a terminal."""

    def __init__(self, text: str, total: int | None):
        from tqdm import tqdm

        self._bar = tqdm(total=total, desc=text, unit="page", disable=None, leave=False)

    def __enter__(self):
        return self._bar.update

    def __exit__(self, *_):
        self._bar.close()


def _console():
    from rich.console import Console

    return Console()
