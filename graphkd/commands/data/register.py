"""`graphkd data register`: enter the user's COCO json under a name; the work is done in
graphkd.data.
"""

import argparse

HELP = "enter a COCO json of your own under a name"
EPILOG = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="name for DATASETS.TRAIN and DATASETS.TEST")
    parser.add_argument("--json", required=True, metavar="FILE", help="COCO json")
    parser.add_argument("--images", required=True, metavar="DIR", help="folder of the images")
    parser.add_argument(
        "--text-classes",
        metavar="A,B",
        help="classes that hold running text; a name with a comma in double quotes",
    )
    parser.add_argument("--val-json", metavar="FILE", help="also register NAME_val with this json")
    parser.add_argument("--val-images", metavar="DIR", help="its images (default: --images)")


def run(args: argparse.Namespace) -> int:
    from graphkd.data.catalog import add_own
    from graphkd.data.check.listing import about_twins
    from graphkd.data.coco import read_categories
    from graphkd.data.entries import REGISTERED_FILE, datasets_root
    from graphkd.errors import UserError
    from graphkd.lists import names_in

    texts = None if args.text_classes is None else names_in(args.text_classes)
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
        for warning in about_twins(entry.classes):
            print(f"warning: {warning}")
    print(f"written to {datasets_root() / REGISTERED_FILE}")
    if texts is None:
        print("text classes are unknown; add them with --text-classes A,B")
    return 0
