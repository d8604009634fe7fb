"""`graphkd export`: a trained model as one file for other programs."""

import argparse
from pathlib import Path

HELP = "Write a trained model as ONNX, TorchScript, OpenVINO or safetensors, and compare it."

EPILOG = """examples:
  graphkd export output/R50-R18/model_final.pth -o student.onnx
  graphkd export model_final.pth --to onnx --int8 --calibrate scans/ --pages my_test -o small.onnx
  graphkd export model_final.pth --to safetensors --score 0.4 --score-class table=0.7

Every export is run beside the trained model on --pages (default: generated pages) and kept only
if it finds the same. Exit code: 0 kept, 1 refused (an older file stays), 2 a wrong option or file.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.epilog = EPILOG
    add = parser.add_argument
    add("weights", type=Path, metavar="WEIGHTS", help="model_final.pth or a .safetensors")
    kinds = ("onnx", "torchscript", "openvino", "safetensors")
    add("--to", choices=kinds, default="onnx", help="kind of file (default onnx)")
    add("-o", "--out", type=Path, metavar="FILE", help="(default: beside WEIGHTS)")
    add("--int8", action="store_true", help="eight-bit convolutions (onnx, openvino)")
    add("--calibrate", metavar="SET|FOLDER", help="pages for --int8 (default: generated ones)")
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        "--half",
        dest="half",
        action="store_const",
        const=True,
        help="float16 weights (safetensors: the default; openvino)",
    )
    size.add_argument(
        "--float32", dest="half", action="store_const", const=False, help="float32 weights"
    )
    add("--score", type=float, help="score threshold to store, all classes, 0..1 (default: keep)")
    add(
        "--score-class",
        action="append",
        default=[],
        metavar="CLASS=SCORE,..",
        help="score thresholds to store for single classes",
    )
    add("--pages", metavar="SET|FOLDER", help="pages to compare on (default: generated ones)")
    add("--most", type=int, default=200, help="largest number of --pages (default 200)")
    add(
        "--tolerance",
        type=float,
        metavar="POINTS",
        help="allowed difference of the main score (AP: 0.1; --int8: 1.5; OpenVINO --half: 1)",
    )
    add(
        "--budget",
        metavar="SIZE",
        help="refuse a larger file, such as 4.5MB (text recognisers: 10MiB; others: any size)",
    )
    add("--config", type=Path, metavar="YAML", help="the run's config, for a .pth without one")
    add("--trust", action="store_true", help="unpickle a .pth in full; this can run any code in it")
    add("--json", type=Path, metavar="FILE", help="also write the numbers as json")


def run(args: argparse.Namespace) -> int:
    """Exports, compares and prints the result; returns 1 where the file was not kept."""
    from graphkd.export.job import ExportOptions, bytes_of, export, report, size_words
    from graphkd.io import write_json
    from graphkd.predict.detector import parse_by_class

    options = ExportOptions(
        weights=args.weights,
        to=args.to,
        out=args.out,
        int8=args.int8,
        half=args.half,
        calibrate=args.calibrate,
        pages=args.pages,
        most=args.most,
        tolerance=args.tolerance,
        budget=None if args.budget is None else bytes_of(args.budget),
        score=args.score,
        by_class=parse_by_class(args.score_class),
        config=args.config,
        trust=args.trust,
    )
    result = export(options)
    if args.json is not None:
        write_json(args.json, report(options, result))
    faults = result.comparison.faults
    for line in result.comparison.lines:
        print(line)
    for fault in faults:
        print(f"refused: {fault}")
    if not faults:
        print(f"{result.path}  {size_words(result.bytes)}")
    return 1 if faults else 0
