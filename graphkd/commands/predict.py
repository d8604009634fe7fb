"""`graphkd predict`: regions, text lines or texts of pictures and PDFs as json, COCO, PAGE XML, TSV
and drawn pictures.
"""

import argparse
import contextlib
import getpass
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from graphkd.errors import UserError

HELP = "find the regions or text lines of pages, or read pictures of lines: files, folders, PDFs"
NEEDS_TRAINING = False  # only for .pth and .safetensors models, which `load_model` checks

EPILOG = """examples:
  graphkd predict scans -o found                       a folder, with the included detector
  graphkd predict student.onnx book.pdf -o found --pages 1-20 --dpi 200
  graphkd predict --weights output/R50-R18/model_final.pth a.jpg b.pdf -o found --draw
  graphkd predict m.safetensors scans -o found --format json,page --score-class title=0.3,table=0.6
  graphkd predict --weights lines scans -o found --draw    text lines, with the included detector
  graphkd predict mine.onnx scans -o found --box-thresh 0.4 --unclip-scale 1.1
  graphkd predict reader.onnx crops -o found --batch 32       OUT/lines.tsv: name, text, score

Exit code: 0 all pages were read, 1 some or all pages were not read (see OUT/failed.json), 2 the
command stopped because of a mistake.
"""


# How maps of text detectors are read: field of the decoder -> type and help. The defaults are those
# of the model file.
DECODING = {
    "thresh": (float, "probability above which a pixel is text, 0..1"),
    "unclip": (str, "exact, which undoes the shrinking of the labels, or ratio"),
    "unclip_ratio": (float, "of --unclip ratio; 1.5 for boxes, 2.0 for polygons in DB's paper"),
    "unclip_scale": (float, "factor on the distance by which found regions grow"),
    "shape": (str, "box (rectangles) or polygon"),
    "candidates": (int, "greatest number of regions that are looked at on a page"),
    "min_before": (float, "least height of a region of the map, in pixels"),
    "min_after": (float, "least height of a line after it has grown, in pixels"),
    "nms": (float, "of EAST: overlap from which boxes are merged"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.epilog = EPILOG
    parser.set_defaults(more="inputs")
    add = parser.add_argument
    add(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="pictures, folders, PDFs; if the first one ends in .pth, .safetensors or .onnx, it is "
        "the weights file (default: the detector that comes with graphkd)",
    )
    add("-o", "--out", type=Path, required=True, help="folder for the results, new or empty")
    add("--overwrite", action="store_true", help="replace this command's earlier results in OUT")
    add(
        "--weights",
        type=Path,
        metavar="FILE",
        help=".pth, .safetensors or .onnx file, or the name of an included model: layout, lines",
    )
    add("--config", type=Path, metavar="YAML", help="the run's config, for a .pth without one")
    add("--trust", action="store_true", help="unpickle a .pth in full; this can run any code in it")
    add("--device", help="cpu, cuda or cuda:1 (default: the GPU if there is one; ONNX: cpu)")
    add(
        "--format",
        help="any of json,coco,page,tsv (default json,coco; text recognisers: tsv)",
    )
    add("--draw", action="store_true", help="also draw the boxes on the pages (OUT/pictures)")
    add("--score", type=float, help="lowest shown score in 0..1 (default: the file's, else 0.5)")
    add(
        "--score-class",
        action="append",
        default=[],
        metavar="CLASS=SCORE,..",
        help="lowest shown score of single classes",
    )
    lines = parser.add_argument_group("text detectors (default: what the model file says)")
    lines.add_argument("--box-thresh", dest="score", type=float, help="the same as --score")
    for name, (kind, text) in DECODING.items():
        lines.add_argument(f"--{name.replace('_', '-')}", type=kind, help=text)
    add("--pages", metavar="1-3,7", help="pages of PDFs and TIFFs (default all)")
    add("--dpi", type=int, default=150, help="resolution of rendered PDF pages (default 150)")
    add(
        "--password-file",
        type=Path,
        metavar="FILE",
        help="file with the password of PDFs in its first line (default: ask at the terminal)",
    )
    add("--batch", type=int, default=1, help="pages of one size per batch (default 1)")
    add("--recursive", action="store_true", help="include subfolders")


def run(args: argparse.Namespace) -> int:
    """Detects regions, writes them and prints their number; returns 1 if a page was not read."""
    from graphkd.io import held
    from graphkd.predict.detector import parse_by_class
    from graphkd.predict.documents import parse_ranges
    from graphkd.predict.folder import check_folder, clear_folder
    from graphkd.predict.model import check_weights, load_model
    from graphkd.predict.output import KIND, Output, choose_formats
    from graphkd.predict.sources import check_pages, find_files

    # All that is quick comes before the model is loaded.
    _check_numbers(args)
    weights, inputs = split_inputs(args.inputs, args.weights)
    choose_formats(args.format)
    by_class = parse_by_class(args.score_class)
    wanted = parse_ranges(args.pages) if args.pages is not None else None
    password = password_in(args.password_file)
    files = find_files(inputs, recursive=args.recursive, outside=args.out)
    if wanted is not None:
        check_pages(files, wanted)
    check_folder(args.out, KIND, overwrite=args.overwrite)
    if weights is not None:
        check_weights(weights, config=args.config)
    decoding = {name: getattr(args, name) for name in DECODING if getattr(args, name) is not None}
    model = load_model(
        weights, config=args.config, trust=args.trust, device=args.device, decoding=decoding
    )
    formats = choose_formats(args.format, task=model.task)
    shown = model.shown_scores(score=args.score, by_class=by_class)
    if any(0 < score < model.floor for score in shown.values()):
        note = f"note: {model.name} itself gives no score below {model.floor:g}"
        print(note, file=sys.stderr)
    record = {
        "weights": model.name,
        "classes": list(model.classes),
        "thresholds": shown,
        "decoding": decoding,
        "dpi": args.dpi,
        "card": model.card,
    }
    with held(args.out):
        # Another run may have begun there while the model was loaded.
        check_folder(args.out, KIND, overwrite=args.overwrite)
        clear_folder(args.out, KIND, keep=files)
        output = Output(
            args.out,
            formats=formats,
            classes=model.classes,
            draw=args.draw,
            record=record,
            inputs=[Path(name) for name in inputs],
        )
        finished = False
        try:
            _work(model, files, output, shown=shown, wanted=wanted, password=password, args=args)
            finished = True
        finally:
            output.close(finished=finished)
    count = f"{output.lines} lines" if output.lines else f"{output.regions} regions"
    print(f"{output.pages} pages, {count}: {args.out}")
    if output.failures:
        count = len(output.failures)
        print(f"{count} not read: see {args.out / 'failed.json'}", file=sys.stderr)
    return 1 if output.failures else 0


def split_inputs(words: list[str], weights: Path | None) -> tuple[Path | None, list[str]]:
    """The weights file, if one is named, and the inputs.

    Raises:
        UserError: two weights files, or no input beside them.
    """
    from graphkd.predict.model import WEIGHTS

    if Path(words[0]).suffix in WEIGHTS:
        if weights is not None:
            raise UserError(f"two weights files are named: {weights} and {words[0]}")
        weights, words = Path(words[0]), words[1:]
    if not words:
        raise UserError("name at least one picture, folder or PDF after the weights")
    return weights, words


def _work(model, files, output, *, shown, wanted, password, args) -> None:
    """Reads, detects and writes page after page under a progress bar."""
    from tqdm import tqdm

    from graphkd.predict.sources import Failure, RawPage, read_file

    ask = asking(password)
    with tqdm(total=len(files), desc="pages", unit=" pages", disable=None) as bar:

        def readable() -> Iterator[RawPage]:
            for path in files:
                first = True
                for item in read_file(path, dpi=args.dpi, wanted=wanted, ask=ask):
                    bar.total += item.pages - 1 if first else 0
                    first = False
                    if isinstance(item, Failure):
                        output.fail(item)
                        tqdm.write(f"not read: {item}", file=sys.stderr)
                        bar.update(1)
                    else:
                        yield item

        for raw, page in model.detect(readable(), shown=shown, batch=args.batch):
            output.add(raw, page)
            bar.update(1)


def asking(password: str | None) -> Callable[[str], str | None]:
    """A function that gives the password of a PDF, from the terminal if none was named."""

    def ask(source: str) -> str | None:
        if password is not None or not sys.stdin.isatty():
            return password
        from tqdm import tqdm

        # An empty answer, or the end of input, leaves this file out.
        with tqdm.external_write_mode(), contextlib.suppress(EOFError):
            return getpass.getpass(f"password of {source}: ") or None
        return None

    return ask


def password_in(path: Path | None) -> str | None:
    """The first line of a file; None without one."""
    if path is None:
        return None
    try:
        password = path.read_text(encoding="utf-8-sig").partition("\n")[0].removesuffix("\r")
    except UnicodeDecodeError as error:
        raise UserError(f"--password-file {path}: not a text file in UTF-8") from error
    if not password:
        raise UserError(f"--password-file {path}: its first line is empty")
    return password


def _check_numbers(args: argparse.Namespace) -> None:
    for name in ("dpi", "batch"):
        if getattr(args, name) < 1:
            raise UserError(f"--{name} is at least 1, not {getattr(args, name)}")
