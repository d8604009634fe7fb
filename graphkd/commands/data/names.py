"""`graphkd data list` and `graphkd data register`: the names of data sets."""

import argparse
from pathlib import Path

LIST_HELP = "show all data set names, whether the data is there, pages and classes"
REGISTER_HELP = "enter a COCO json, a hub file of text lines or a list of line pictures of your own"
_KINDS = {"lines": "text lines", "crops": "pictures of lines"}


def add_list_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the list as json")


def show_list(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    from rich.console import Console
    from rich.table import Table

    from graphkd.data.entries import datasets_root, inventory
    from graphkd.io import write_json

    root = datasets_root()
    table = Table(title=f"data sets below {root} (* text class)")
    for column in ("name", "data", "pages"):
        table.add_column(column, no_wrap=True)
    table.add_column("classes", overflow="fold")
    found, last = inventory(root), None
    for row in found:
        classes = _KINDS.get(row.kind) or _classes(row.classes, row.text_classes)
        pages = "-" if row.pages is None else str(row.pages)
        table.add_row(row.name, row.data, pages, "as above" if classes == last else classes)
        last = classes
    Console().print(table)
    if args.json:
        write_json(args.json, [asdict(row) for row in found])
    return 0


def _classes(classes: tuple[str, ...], texts: tuple[str, ...] | None) -> str:
    names = [f"{name}*" if name in (texts or ()) else name for name in classes]
    unknown = " (text classes unknown)" if texts is None else ""
    return f"{len(names)}: {', '.join(names)}{unknown}"


def add_register_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="name for DATASETS.TRAIN and DATASETS.TEST")
    parser.add_argument("--json", metavar="FILE", help="COCO json")
    parser.add_argument("--images", metavar="DIR", help="folder of the images")
    parser.add_argument("--lines", metavar="FILE.jsonl", help="hub file of text lines, alone")
    parser.add_argument("--crops", metavar="FILE.tsv", help="names of line pictures and texts")
    parser.add_argument("--charset", metavar="FILE", help="with --crops: characters to read")
    parser.add_argument(
        "--group", metavar="REGEX", help="with --crops: finds the document in a picture's name"
    )
    parser.add_argument(
        "--text-classes",
        metavar="A,B",
        help="classes that hold running text; a name with a comma in double quotes",
    )
    parser.add_argument("--val-json", metavar="FILE", help="also register NAME_val with this json")
    parser.add_argument("--val-images", metavar="DIR", help="its images (default: --images)")


def register(args: argparse.Namespace) -> int:
    from graphkd.errors import UserError

    if args.lines or args.crops:
        return _register_texts(args)
    if args.charset or args.group:
        raise UserError("--charset and --group go with --crops")
    if not (args.json and args.images):
        raise UserError("give --json and --images, --lines for a hub file, or --crops for lines")
    return _register_boxes(args)


def _register_texts(args: argparse.Namespace) -> int:
    from graphkd.data.crops import add_own_crops
    from graphkd.data.entries import REGISTERED_FILE, datasets_root
    from graphkd.data.lines import add_own_lines
    from graphkd.errors import UserError

    kind = "lines" if args.lines else "crops"
    others = [args.json, args.images, args.text_classes, args.val_json, args.val_images]
    if kind == "lines":
        others += [args.crops, args.charset, args.group]
    if any(each is not None for each in others):
        raise UserError(f"--{kind} stands alone; register each file under a name of its own")
    if kind == "lines":
        add_own_lines(args.name, args.lines)
    else:
        rest = {"charset": args.charset or "", "group": args.group or ""}
        add_own_crops(args.name, args.crops, **rest)
    print(f"{args.name}: {_KINDS[kind]}")
    print(f"written to {datasets_root() / REGISTERED_FILE}")
    return 0


def _register_boxes(args: argparse.Namespace) -> int:
    from graphkd.data.check.document import similar_names
    from graphkd.data.coco import read_categories
    from graphkd.data.entries import REGISTERED_FILE, datasets_root
    from graphkd.errors import UserError
    from graphkd.lists import names_in

    texts = None if args.text_classes is None else names_in(args.text_classes)
    sets = [(args.name, args.json, args.images)]
    if args.val_json:
        sets.append((f"{args.name}_val", args.val_json, args.val_images or args.images))
    elif args.val_images:
        raise UserError("--val-images goes with --val-json")
    categories = []
    for _, json_file, _ in sets:
        _say(f"reading {json_file}{_size(json_file)}")
        categories.append(read_categories(json_file))
    if categories[0] != categories[-1]:
        raise UserError(f"{args.json} and {args.val_json} have different categories")
    for text in similar_names(categories[0].values()):
        print(f"warning: {text}")
    # A slow machine takes 15 seconds to import it.
    _say("loading Detectron2, to see whether the name is free")
    from graphkd.data.catalog import add_own

    for name, json_file, images in sets:
        entry = add_own(name, json_file, images, text_classes=texts)
        print(f"{name}: {len(entry.classes)} classes: {', '.join(entry.classes)}")
    print(f"written to {datasets_root() / REGISTERED_FILE}")
    if texts is None:
        print("text classes are unknown; add them with --text-classes A,B")
    return 0


def _say(text: str) -> None:
    print(f"{text} ...", flush=True)


def _size(path: str) -> str:
    """The size of a file that takes a while to read, in brackets."""
    megabytes = Path(path).stat().st_size / 1e6 if Path(path).is_file() else 0
    return f" ({megabytes:.0f} MB)" if megabytes > 20 else ""
