"""`graphkd data label`: pictures of lines read by a trained reader, as labels for training."""

import argparse
from pathlib import Path

HELP = "label pictures of lines with what a trained reader reads"
EPILOG = """Pseudo-labels: lines with a low score are probably wrong, those with a high one teach
nothing new; both are left out. OUT.tsv has a row of name, tab and text for every line that is kept.

exit code: 0 all pictures were read, 1 some could not be read

examples:
  graphkd data label output/reader/model_final.pth crops/ -o crops/labels.tsv
  graphkd data label rapidocr-rec crops/ -o crops/labels.tsv --least 0.5 --most 1
  graphkd data label rapidocr-rec sroie/train -o cased.tsv --case-of sroie/train.tsv
  graphkd data register mine --crops crops/labels.tsv"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    add = parser.add_argument
    add("model", metavar="MODEL", help=".pth, .safetensors, .onnx, or rapidocr-rec")
    add("inputs", nargs="+", metavar="INPUT", help="pictures of lines, and folders of them")
    add("-o", "--out", type=Path, required=True, metavar="OUT.tsv", help="label file to write")
    add("--least", type=float, default=0.15, help="lowest score that is kept (default 0.15)")
    add("--most", type=float, default=0.95, help="highest score that is kept (default 0.95)")
    add("--charset", metavar="FILE", help="leave out lines with other characters than these")
    add(
        "--case-of",
        type=Path,
        metavar="LABELS",
        help="labels in capitals: keep their lines that are read alike, spaces and case apart, and "
        "write them with the case that is read, whatever its score",
    )
    add("--batch", type=int, default=16, help="lines at once (default 16)")


def run(args: argparse.Namespace) -> int:
    import os
    import sys
    from collections import Counter

    from tqdm.auto import tqdm

    from graphkd.data.check.crops import read_rows, write_rows
    from graphkd.errors import UserError
    from graphkd.predict.documents import Failure
    from graphkd.predict.sources import find_files, no_password, read_file
    from graphkd.text.charset import read_charset

    if not 0 <= args.least <= args.most <= 1:
        raise UserError(f"--least {args.least} --most {args.most}: 0 <= least <= most <= 1")
    charset = read_charset(args.charset) if args.charset else None
    truth = None
    if args.case_of is not None:
        if not args.case_of.is_file():
            raise UserError(f"--case-of {args.case_of}: no such label file")
        labels = read_rows(args.case_of, lambda problem: None)
        truth = {(args.case_of.parent / name).resolve(): text for name, text in labels}
        args.least, args.most = 0.0, 1.0
    counts: Counter[str] = Counter()
    rows, folder = [], args.out.resolve().parent

    def pictures():
        files = find_files(args.inputs, recursive=True)
        for path in tqdm(files, "reading", unit="line", disable=None):
            for page in read_file(path, dpi=150, wanted=None, ask=no_password):
                if isinstance(page, Failure):
                    counts["not read"] += 1
                    print(f"not read: {page.source}: {page.reason}", file=sys.stderr)
                else:
                    yield page

    for source, text, score in _readings(args.model, pictures(), batch=args.batch):
        place = Path(source).resolve()
        if truth is not None:
            text = recased(truth.get(place, ""), text)
        if text is None:
            counts["read otherwise"] += 1
        elif score < args.least:
            counts[f"score below {args.least:g}"] += 1
        elif score > args.most:
            counts[f"score above {args.most:g}"] += 1
        elif not text.strip():
            counts["no text"] += 1
        elif charset is not None and not charset.covers(text):
            counts["other characters"] += 1
        else:
            rows.append((os.path.relpath(place, folder), text))
    write_rows(args.out, rows)
    print(f"{args.out}: {len(rows)} lines")
    for what, count in counts.items():
        print(f"left out: {count} {what}")
    return 1 if counts["not read"] else 0


def recased(label: str, read: str) -> str | None:
    """A label with the case of what was read; None where the two differ by more than spaces and
    case.
    """
    plain, letters = label.replace(" ", ""), read.replace(" ", "")
    if len(plain) != len(letters) or plain.casefold() != letters.casefold():
        return None
    following = iter(letters)
    return "".join(each if each == " " else next(following) for each in label)


def _readings(model: str, pictures, *, batch: int):
    """(source, text, score) of every picture, in order."""
    from graphkd.distill.onnx_file import BUILT_IN, OnnxFile
    from graphkd.distill.onnx_reader import FrameReader
    from graphkd.errors import UserError
    from graphkd.predict.model import load_model

    path = Path(model)
    if model in BUILT_IN or (path.suffix == ".onnx" and path.with_suffix(".yaml").is_file()):
        reader = FrameReader(OnnxFile(model))
        for page in pictures:
            yield page.source, *reader.read(page.pixels)
        return
    found = load_model(model)
    if found.task != "text_recognition":
        raise UserError(f"{model}: a model of the task {found.task} reads no lines")
    for page, result in found.detect(pictures, shown={"text": 0.0}, batch=batch):
        (line,) = result.regions[0].lines
        yield page.source, line.text, line.confidence
