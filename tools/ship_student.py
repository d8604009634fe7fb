"""Writes the student that comes with the package: both files, thresholds, card, hashes."""

import argparse
import re
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path

import yaml

from graphkd import shipped
from graphkd.data.catalog import register_all
from graphkd.export.job import ExportOptions, export
from graphkd.io import file_digest
from graphkd.modelfile import build_detector, read_model, write_safetensors
from graphkd.modeling.network import parameters
from graphkd.tasks.base import task_named

CARD = """# The student that comes with graphkd

{about}

| | |
|---|---|
| detector | Faster R-CNN with FPN, MobileNetV4-small, {parameters:.1f} M parameters |
| to run, without PyTorch | `student.onnx`, {onnx:.1f} MB, float32 |
| to train on | `student.safetensors`, {megabytes:.1f} MB, float16 |
| classes | {classes} |
| trained on | {train}, {steps} steps of {batch} pages, seed {seed}, from scratch |
| method | {method}; teacher R18-FPN |
| page size | longer side {side} px |
| AP on {test} ({pages} pages, this file) | {AP:.1f} (AP50 {AP50:.1f}, AP75 {AP75:.1f}) |
| thresholds | best F1 on {val}: {thresholds} |
| date | {date} |
| licence | Apache-2.0; the training pages are generated, no third-party page or weight went in |

AP by class: {per_class}.

**What it is for.** A first look at office-like pages, and trying `graphkd predict`. It has seen
generated pages alone: on scans, newspapers, manuscripts or forms it will miss much. Train a student
on your own pages for work.

Made with `python tools/ship_student.py {run} {arguments}`.
"""


def main() -> None:
    """Reads a finished run and writes graphkd/weights/ and the hashes in graphkd/shipped.py."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("--val", default="pages_tiny_val", help="set the thresholds are fitted to")
    parser.add_argument("--test", default="pages_tiny_test", help="set that is scored")
    parser.add_argument("--about", default="Trained by `graphkd train`.", help="first sentence")
    args = parser.parse_args()
    register_all()
    stored = read_model(args.run / "model_final.pth")
    run = yaml.safe_load((args.run / "config.yaml").read_text())
    files = {kind: shipped.FOLDER / f"student.{kind}" for kind in ("safetensors", "onnx")}
    weights = files["safetensors"]
    weights.parent.mkdir(exist_ok=True)
    write_safetensors(weights, stored)
    half = read_model(weights)  # what is fitted and scored below has the rounded weights
    task, model = task_named(half.header.task), build_detector(half)
    calibration = task.calibrate(half.cfg, model, args.val)
    scores = task.evaluate(half.cfg, model, args.test, calibration=calibration)
    method = " + ".join(run["DISTILL"]["LOSSES"])
    header = replace(
        half.header,
        calibration=calibration,
        metrics={metric.name: round(scores[metric.name], 1) for metric in task.metrics},
        primary=task.primary,
        card={"method": method, "seed": str(run["SEED"])},
    )
    write_safetensors(weights, half, header=header)
    result = export(ExportOptions(weights, out=files["onnx"]))
    if result.comparison.faults:
        sys.exit(f"the ONNX file differs from the model: {'; '.join(result.comparison.faults)}")
    card = CARD.format(
        about=args.about,
        parameters=parameters(model) / 1e6,
        megabytes=weights.stat().st_size / 1e6,
        onnx=files["onnx"].stat().st_size / 1e6,
        classes=", ".join(half.classes),
        train=", ".join(run["DATASETS"]["TRAIN"]),
        steps=run["SOLVER"]["MAX_ITER"],
        batch=run["SOLVER"]["IMS_PER_BATCH"],
        seed=run["SEED"],
        method=method,
        side=run["INPUT"]["MAX_SIZE_TEST"],
        test=args.test,
        val=args.val,
        pages=scores["items"],
        AP=scores["AP"],
        AP50=scores["AP50"],
        AP75=scores["AP75"],
        thresholds=", ".join(
            f"{name} {value:.2f}" for name, value in calibration["thresholds"].items()
        ),
        per_class=", ".join(f"{name} {value:.1f}" for name, value in scores["per_class"].items()),
        date=date.today().isoformat(),
        run="RUN",
        arguments=f"--val {args.val} --test {args.test}",
    )
    weights.with_suffix(".md").write_text(card)
    source = Path(shipped.__file__)
    text = source.read_text()
    for file in files.values():  # the hash is the first string behind the file's name
        text = re.sub(rf'("{file.name}",\s*")\w*', rf"\g<1>{file_digest(file)}", text)
    source.write_text(text)


if __name__ == "__main__":
    main()
