"""`graphkd report`: makes an HTML page about a run, a demo or a comparison."""

import argparse

from graphkd.commands import add_data

HELP = "Make an HTML page about a run, demo or comparison: scores, curves, worst pages, graph."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder", metavar="RUN", help="folder of a training, demo or comparison, or a run's yaml"
    )
    add_data(parser)
    parser.add_argument("-o", "--out", metavar="FILE", help="HTML file (default: RUN/report.html)")
    parser.add_argument(
        "--score",
        type=float,
        default=0.5,
        help="lowest score of predictions on single pages (default: %(default)s)",
    )
    parser.add_argument(
        "--pages", type=int, default=8, help="worst pages or lines to show (default: %(default)s)"
    )
    parser.add_argument(
        "--no-graph", action="store_true", help="draw no graph, so that no model is run"
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    parser.epilog = """examples:
  graphkd report output/tiny/R18-MNv4s
  graphkd report configs/R50-R18.yaml --data prima
  graphkd report output/compare -o compare-report.html --pages 12
  graphkd report output/demo --score 0.3 --no-graph

The page works offline and contains its pictures. If the teacher, the data set or predictions are
missing, it says so and shows the rest.
"""


def run(args: argparse.Namespace) -> int:
    from pathlib import Path

    from graphkd.engine.jobs import run_folder
    from graphkd.errors import UserError
    from graphkd.report.runs import make_report
    from graphkd.report.stored import Options

    if not 0 <= args.score <= 1:
        raise UserError(f"--score is {args.score:g}; it must be in 0..1")
    if args.pages < 0:
        raise UserError(f"--pages is {args.pages}; it must be 0 or more")
    folder = run_folder(args.folder, data=args.data)
    out = Path(args.out) if args.out else folder / "report.html"
    if out.suffix not in (".html", ".htm"):
        raise UserError(f"{out}: a report is an .html file")
    options = Options(
        score=args.score, pages=args.pages, graph=not args.no_graph, device=args.device
    )
    notes = make_report(folder, out, options, say=lambda text: print(text, flush=True))
    for note in notes:
        print(note)
    print(f"report: {out}")
    return 0
