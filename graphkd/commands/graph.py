"""`graphkd graph`: the document graph of one page, as a detector sees it."""

import argparse

HELP = "Draw the document graph of a page from a detector's own regions and features."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", metavar="IMAGE", help="a page")
    parser.add_argument("weights", metavar="WEIGHTS", help=".pth of a run, or .safetensors")
    parser.add_argument(
        "-o",
        "--out",
        metavar="FILE",
        default="graph.html",
        help=".html, .svg or .png (default: %(default)s)",
    )
    parser.add_argument(
        "--text-classes",
        metavar="A,B",
        help="classes of running text; by default those of a known class list, else guessed from "
        "the names, and told",
    )
    parser.add_argument(
        "--score",
        type=float,
        help="lowest score of a region (default: the file's thresholds, else 0.5)",
    )
    parser.add_argument(
        "--edges", type=int, default=3, help="strongest edges of a node (default: %(default)s)"
    )
    parser.add_argument("--config", metavar="YAML", help="the run's yaml, if the file has none")
    parser.add_argument("--trust", action="store_true", help="read .pth that can run any code")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    parser.epilog = """examples:
  graphkd graph page.jpg output/tiny/R18-MNv4s/model_final.pth
  graphkd graph page.png student.safetensors -o page.svg --text-classes text,title,list
  graphkd graph scan.tif model_final.pth -o scan.png --score 0.3 --edges 2

Nodes are detections, blue for text and orange for the rest; text regions that are alike are merged.
Edges are cosines of region features. In HTML and SVG, hover over a node for its class and type.
"""


def run(args: argparse.Namespace) -> int:
    from pathlib import Path

    from graphkd.errors import UserError
    from graphkd.io import write_text
    from graphkd.modelfile import read_model
    from graphkd.report.graph import graph_picture, graph_svg
    from graphkd.report.page import Report, write_report
    from graphkd.tasks.layout_report import SHOWN_SCORE, detected_graph, graph_section

    out = Path(args.out)
    _check(args, out.suffix)
    stored = read_model(args.weights, config=args.config, trust=args.trust)
    texts, why = choose_texts(args.text_classes, stored.classes)
    print(f"text classes ({why}): {', '.join(texts) or 'none'}")
    view = detected_graph(
        stored,
        {"file_name": args.image},
        text_classes=texts,
        score=args.score,
        device=args.device,
    )
    if view is None:
        limit = "the file's thresholds" if args.score is None else f"{args.score:g}"
        raise UserError(f"{args.image}: no region scores {limit} or more; try a lower --score")
    found = f"{len(view.assignment)} nodes of {len(view.boxes)} regions"
    if out.suffix == ".png":
        graph_picture(view, out, strongest=args.edges)
    elif out.suffix == ".svg":
        write_text(out, f"{graph_svg(view, strongest=args.edges)}\n")
    else:
        score = args.score if args.score is not None else stored.header.thresholds or SHOWN_SCORE
        about = {
            "page": args.image,
            "detector": str(stored.path),
            "classes": ", ".join(stored.classes),
            "text classes": f"{', '.join(texts) or 'none'} ({why})",
            "score threshold": str(score),
        }
        graph = graph_section(view, f"{found}.", strongest=args.edges)
        title = f"Document graph of {Path(args.image).name}"
        write_report(out, Report(title, sections=[graph], about=about))
    print(f"{found}: {out}")
    return 0


def choose_texts(asked: str | None, classes: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """The text classes and where they come from.

    Raises:
        UserError: a class that the detector does not have.
    """
    from graphkd.data.layouts import text_names
    from graphkd.errors import UserError
    from graphkd.lists import names_in

    if asked is None:
        return text_names(classes)
    names = tuple(names_in(asked))
    if unknown := [name for name in names if name not in classes]:
        raise UserError(
            f"--text-classes: the detector has no class {', '.join(unknown)}; its classes are "
            f"{', '.join(classes)}"
        )
    return names, "as asked for"


def _check(args: argparse.Namespace, suffix: str) -> None:
    from pathlib import Path

    from graphkd.data.images import ImageProblem, read_header
    from graphkd.errors import UserError

    if suffix not in (".html", ".htm", ".svg", ".png"):
        raise UserError(f"{args.out}: a graph is an .html, .svg or .png file")
    if args.score is not None and not 0 <= args.score <= 1:
        raise UserError(f"--score is {args.score:g}; it must be in 0..1")
    if args.edges < 1:
        raise UserError(f"--edges is {args.edges}; it must be 1 or more")
    if Path(args.image).is_dir():
        raise UserError(f"{args.image}: a folder; name one page")
    try:
        read_header(args.image)
    except ImageProblem as error:
        raise UserError(f"{args.image}: {error}") from None
