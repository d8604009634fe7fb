"""`graphkd read`: the text of pictures and PDFs with regions, lines, words and reading order."""

import argparse
import sys
from pathlib import Path

from graphkd.errors import UserError

HELP = "read whole pages: pictures, folders of them and PDFs, to text with layout and order"
NEEDS_TRAINING = False

EPILOG = """examples:
  graphkd read scans -o text                             a folder of pictures
  graphkd read book.pdf -o text --format page,json --pages 1-20,-1
  graphkd read scans -o text --weights my_models --jobs 4 --timeout 60 --resume
  graphkd read scans -o text --eval scans_page_xml       also score against PAGE or ALTO files

OUT/read.jsonl has one line a page: status, counts, confidence, milliseconds of each stage.

Exit code: 0 all pages were read, 1 some pages were not read (see OUT/failed.json), 2 the command
stopped because of a mistake.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.epilog = EPILOG
    parser.set_defaults(more="inputs")
    add = parser.add_argument
    add("inputs", nargs="+", metavar="INPUT", help="pictures, folders, PDFs")
    add("-o", "--out", type=Path, required=True, help="folder for the results, new or empty")
    add(
        "--format",
        default="page",
        help="page (default), alto, hocr, md, txt, json, jsonl, pdf, overlay, with commas",
    )
    add("--weights", type=Path, metavar="FOLDER", help="folder with the ONNX files of the models")
    add("--recursive", action="store_true", help="include subfolders")
    add("--pages", metavar="1-3,7,-1", help="pages of PDFs and TIFFs; -1 is the last (default all)")
    add("--dpi", default="auto", help="of drawn PDF pages; auto: 200, or more for small print")
    add(
        "--password-file",
        type=Path,
        metavar="FILE",
        help="file with the password of PDFs in its first line (default: ask at the terminal)",
    )
    add("--rotate", default="auto", help="auto, 0, 90, 180 or 270 degrees clockwise (default auto)")
    add("--order", default="xycut", help="of regions: xycut or none (default xycut)")
    add("--direction", default="ltr", help="of the script: ltr, rtl or ttb (default ltr)")
    add("--no-words", action="store_true", help="lines only, without words")
    add("--chars", action="store_true", help="also the place of every character (page, json)")
    add("--min-conf", type=float, default=0.0, help="lines of lower confidence stay without text")
    add("--max-pixels", type=int, help="of a page; larger PDF pages are drawn smaller")
    add(
        "--text",
        default="auto",
        help="of PDFs: auto where it can be trusted, pdf also invisible text, ocr never (auto)",
    )
    add(
        "--pdf-text",
        default="keep",
        choices=("keep", "replace"),
        help="invisible text of a PDF in --format pdf: keep it, or replace it (default keep)",
    )
    add(
        "--decrypt",
        action="store_true",
        help="allow that --format pdf makes PDFs without encryption from encrypted ones",
    )
    run = parser.add_argument_group("the run")
    run.add_argument("--jobs", type=int, default=1, help="processes (default 1)")
    run.add_argument("--threads", type=int, help="of each process (default: cores / jobs)")
    run.add_argument("--timeout", type=float, metavar="S", help="seconds for a page")
    run.add_argument("--resume", action="store_true", help="keep pages that are done and unchanged")
    run.add_argument("--overwrite", action="store_true", help="replace earlier results in OUT")
    run.add_argument("--fail-fast", action="store_true", help="stop at the first unread page")
    run.add_argument("--profile", action="store_true", help="print the time of each stage")
    run.add_argument("--eval", type=Path, metavar="GT", help="folder of PAGE or ALTO files")


def run(args: argparse.Namespace) -> int:
    """Reads pages, writes them and prints their number; returns 1 if a page was not read."""
    from graphkd.commands.predict import asking, password_in
    from graphkd.io import held
    from graphkd.predict.documents import parse_ranges
    from graphkd.predict.folder import check_folder, clear_folder
    from graphkd.predict.sources import check_pages, find_files
    from graphkd.read.log import KIND, Setup, formats_in, list_jobs

    options = _options(args)
    formats = formats_in(args.format)
    wanted = parse_ranges(args.pages) if args.pages is not None else None
    password = password_in(args.password_file)
    files = find_files(args.inputs, recursive=args.recursive, outside=args.out)
    if wanted is not None:
        check_pages(files, wanted)
    known = args.overwrite or args.resume
    check_folder(args.out, KIND, overwrite=known)
    if args.eval is not None and not args.eval.exists():
        raise UserError(f"--eval {args.eval}: no such file or folder")
    setup = Setup(
        args.out,
        formats,
        options,
        weights=args.weights,
        threads=args.threads or _share(args.jobs),
        truth=args.eval,
    )
    with held(args.out):
        check_folder(args.out, KIND, overwrite=known)
        if args.resume:
            args.out.mkdir(parents=True, exist_ok=True)
        else:
            clear_folder(args.out, KIND, keep=files)
        jobs, failures = list_jobs(files, wanted=wanted, ask=asking(password))
        return _work(args, setup, jobs, failures)


def _work(args: argparse.Namespace, setup, jobs, failures) -> int:
    from tqdm import tqdm

    from graphkd.predict.sources import Failure
    from graphkd.read.log import Run, profile

    pdf = {"decrypt": args.decrypt, "replace": args.pdf_text == "replace"}
    run = Run(setup, jobs, resume=args.resume, pdf=pdf)
    finished = False
    try:
        with tqdm(total=len(jobs), desc="pages", unit=" pages", disable=None) as bar:

            def note(failure: Failure) -> None:
                run.results.fail(failure)
                tqdm.write(f"not read: {failure}", file=sys.stderr)

            for failure in failures:
                note(failure)
            rows = run.rows(workers=args.jobs, timeout=args.timeout)
            for row in rows if not (failures and args.fail_fast) else ():
                bar.update(1)
                if row["status"] in ("failed", "timeout"):
                    note(Failure(row["source"], row["page"], row["reason"]))
                    if args.fail_fast:
                        rows.close()
                        break
        finished = True
    finally:
        run.close(finished=finished)
    results = run.results
    print(f"{results.pages} pages, {results.lines} lines: {args.out}")
    if args.profile:
        print(profile(run.log.rows))
    if args.eval is not None:
        print(run.evaluation())
    if results.failures:
        count = len(results.failures)
        print(f"{count} not read: see {args.out / 'failed.json'}", file=sys.stderr)
    return 1 if results.failures else 0


def _options(args: argparse.Namespace):
    from graphkd.read.reader import MAX_PIXELS, Options

    for name in ("jobs", "threads", "timeout"):
        value = getattr(args, name)
        if value is not None and value <= 0:
            raise UserError(f"--{name} is above 0, not {value:g}")
    if args.dpi != "auto" and not args.dpi.isdecimal():
        raise UserError(f"--dpi {args.dpi}: give a number or auto")
    return Options(
        dpi=None if args.dpi == "auto" else int(args.dpi),
        rotate=args.rotate,
        order=args.order,
        direction=args.direction,
        words=not args.no_words,
        chars=args.chars,
        text=args.text,
        min_conf=args.min_conf,
        max_pixels=MAX_PIXELS if args.max_pixels is None else args.max_pixels,
    )


def _share(jobs: int) -> int:
    """The threads of one of several processes that share the cores."""
    from graphkd.predict.onnx_detector import usable_cores

    return max(1, usable_cores() // jobs)
