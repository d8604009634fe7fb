"""`graphkd robust`: AP of trained models on corrupted pages."""

import argparse
from pathlib import Path

HELP = "Measure AP on pages that are rotated, warped, blurred, stained, badly lit or badly printed."

EPILOG = """corruptions after RoDLA (Chen et al., CVPR 2024), severities 1 (legible) to 3 (severe):
  rotation warping keystoning     the page is not flat under the camera; boxes move with it
  watermark background            foreign content over or behind the print
  ink-holdout ink-bleeding        too little ink, too much ink
  illumination                    shadow and reflection
  defocus vibration               a blurred photograph
  speckle texture                 dirt, coarse paper

mean AP   the mean over all measured corruptions
mean loss the mean over all measured corruptions of 100 (1 - AP corrupted / AP clean), in percent.
          This is not RoDLA's mRD, which divides by a measure of each corruption's effect.

examples:
  graphkd robust output/demo/student/model_final.pth --data pages_tiny_test --limit 50
  graphkd robust teacher=t.pth plain=p.pth distilled=d.pth --data segmonto_test \\
      --json robust.json -o robust.md
  graphkd robust model.safetensors --data test.json --images scans --kinds rotation,defocus
  graphkd robust --data segmonto_test --pictures sheet.png      only the pictures

With --json, the same command continues a stopped run, and further models, corruptions and
severities are added to the file. Use another file for other pages or another seed.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "weights",
        nargs="*",
        metavar="WEIGHTS",
        help=".pth or .safetensors; NAME=FILE names its column",
    )
    parser.add_argument("--data", required=True, help="a data set's name, or a COCO json")
    parser.add_argument("--images", type=Path, metavar="DIR", help="page folder of a COCO json")
    parser.add_argument("--kinds", metavar="A,B", help="corruptions (default: all twelve)")
    parser.add_argument(
        "--strengths", default="1,2,3", metavar="1,2", help="severities (default: %(default)s)"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="number of pages, evenly spread")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: %(default)s)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="default: cpu")
    parser.add_argument("--json", type=Path, metavar="FILE", help="store the numbers, or continue")
    parser.add_argument("-o", "--out", type=Path, metavar="FILE.md", help="write the table")
    parser.add_argument(
        "--pictures",
        type=Path,
        metavar="FILE.png",
        help="draw the first page corrupted",
    )
    parser.epilog = EPILOG


def run(args: argparse.Namespace) -> int:
    from graphkd.errors import UserError
    from graphkd.io import write_text
    from graphkd.robustness.corruptions import KINDS, SEVERITIES
    from graphkd.robustness.measure import load_contenders, load_pages, measure, settings_of
    from graphkd.robustness.results import Record, table
    from graphkd.tasks.layout import TASK

    kinds = chosen(args.kinds, KINDS, "--kinds")
    severities = [int(s) for s in chosen(args.strengths, map(str, SEVERITIES), "--strengths")]
    if not args.weights and not args.pictures:
        raise UserError(
            "name trained models to measure, or --pictures FILE.png to see corrupted pages"
        )
    if args.limit is not None and args.limit < 1:
        raise UserError("--limit must be at least 1")
    if args.seed < 0:
        raise UserError("--seed must be 0 or more")
    for option, path in (("-o", args.out), ("--json", args.json)):
        if path is not None and path.is_dir():
            raise UserError(f"{option} {path}: it is a folder; name a file")
    pages = load_pages(args.data, args.images).thinned(args.limit)
    contenders = load_contenders(
        args.weights, classes=pages.classes, data=pages.name, device=args.device
    )
    weights = {contender.name: contender.checksum for contender in contenders}
    # Read before anything takes time, so that a wrong file is an error at once.
    metric = TASK.primary_metric
    record = Record(args.json, settings_of(pages, seed=args.seed), weights, metric=metric)
    if args.pictures:
        draw(pages, kinds, severities, args.seed, args.pictures)
    if not contenders:
        return 0
    measure(contenders, pages, kinds=kinds, severities=severities, seed=args.seed, record=record)
    # Cells of an earlier, larger run stay in the json but do not count here.
    wanted = record.chosen(kinds, severities)
    about = f"{pages.name}, {len(pages.dicts)} pages, seed {args.seed}"
    print(about)
    shown = {"kinds": kinds, "severities": severities, "metric": metric}
    print(table(wanted, **shown))
    if args.out:
        text = table(wanted, **shown, form="github")
        write_text(
            args.out,
            f"{text}\n\n{about}. Mean loss: the mean of 100 (1 - AP corrupted / AP clean).\n",
        )
    return 0


def chosen(text, known, option: str) -> list[str]:
    """The names in a comma-separated list, in the order of the known ones; all for None."""
    from graphkd.errors import UserError
    from graphkd.lists import names_in

    known = list(known)
    parts = known if text is None else names_in(text)
    unknown = [part for part in parts if part not in known]
    if unknown or not parts:
        raise UserError(
            f"{option}: {', '.join(unknown) or 'nothing named'}; choose from {', '.join(known)}"
        )
    return [part for part in known if part in parts]


def draw(pages, kinds, severities, seed: int, path: Path) -> None:
    """Writes the contact sheet of the first page that has objects, else of the first."""
    from graphkd.data.mapper import read_for
    from graphkd.errors import UserError
    from graphkd.robustness.measure import outline_of
    from graphkd.robustness.sheet import contact_sheet

    if path.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise UserError(f"--pictures: {path} must end in .png or .jpg")
    page = next((page for page in pages.dicts if page["annotations"]), pages.dicts[0])
    outlines = [outline_of(annotation) for annotation in page["annotations"]]
    image = read_for(page, format="RGB")
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet = contact_sheet(image, outlines, kinds=kinds, severities=severities, seed=seed)
    sheet.save(path)
    print(path)
