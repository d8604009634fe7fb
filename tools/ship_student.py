"""Writes a student that comes with the package: both files, calibration, card and hashes."""

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

CARD = """# {title}

{about}

| | |
|---|---|
| model | {what}, {parameters:.2f} M parameters |
| to run, without PyTorch | `{onnx.name}`, {onnx_size:.1f} MB, {precision} |
| to train on | `{weights.name}`, {size:.1f} MB, float16 |
| trained on | {train}; {steps} steps of {batch}, seed {seed} |
| method | {method} |
{scores}
{calibration}| date | {date} |
| licence | {licence} |

{use}

Made with `python tools/ship_student.py {arguments}`.
"""


def main() -> None:
    """Reads a finished run and writes graphkd/weights/ and the hashes in graphkd/shipped.py."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("run", type=Path, help="folder of a finished run")
    add("--name", default="layout", choices=shipped.NAMES, help="which of the included students")
    add("--val", default="pages_tiny_val", help="set that thresholds and the like are fitted to")
    add("--test", default="pages_tiny_test", help="sets that are scored, with commas between")
    add("--what", required=True, help="architecture, for the card")
    add("--about", default="Trained by `graphkd train`.", help="first sentence of the card")
    add("--int8", action="store_true", help="the ONNX file with eight-bit weights")
    add("--method", help="of the card (default: the losses of the run)")
    add("--licence", default="Apache-2.0", help="of the weights, and why it may be given")
    add("--use", required=True, help="what the student is for, and what it is not")
    args = parser.parse_args()
    register_all()
    stored = read_model(args.run / "model_final.pth")
    run = yaml.safe_load((args.run / "config.yaml").read_text())
    files = {kind: shipped.file_of(kind, args.name) for kind in ("safetensors", "onnx")}
    weights = files["safetensors"]
    write_safetensors(weights, stored)
    half = read_model(weights)  # what is fitted and scored below has the rounded weights
    task, model = task_named(half.header.task), build_detector(half)
    calibration = task.calibrate(half.cfg, model, args.val)
    sets = args.test.split(",")
    scores = {name: task.evaluate(half.cfg, model, name, calibration=calibration) for name in sets}
    method = args.method or " + ".join(run["DISTILL"]["LOSSES"]) or "no distillation"
    header = replace(
        half.header,
        calibration=calibration,
        metrics={each.name: round(scores[sets[0]][each.name], 1) for each in task.metrics},
        primary=task.primary,
        card={"method": method, "seed": str(run["SEED"])},
    )
    write_safetensors(weights, half, header=header)
    result = export(ExportOptions(weights, out=files["onnx"], int8=args.int8))
    if result.comparison.faults:
        sys.exit(f"the ONNX file differs from the model: {'; '.join(result.comparison.faults)}")
    card = CARD.format(
        title=f"The {args.name} student that comes with graphkd",
        about=args.about,
        what=args.what,
        parameters=parameters(model) / 1e6,
        weights=weights,
        size=weights.stat().st_size / 1e6,
        onnx=files["onnx"],
        onnx_size=files["onnx"].stat().st_size / 1e6,
        precision="int8" if args.int8 else "float32",
        train=", ".join(run["DATASETS"]["TRAIN"]),
        steps=run["SOLVER"]["MAX_ITER"],
        batch=run["SOLVER"]["IMS_PER_BATCH"],
        seed=run["SEED"],
        method=method,
        scores="\n".join(_score_row(task, name, numbers) for name, numbers in scores.items()),
        calibration=f"| fitted on {args.val} | {_numbers(calibration)} |\n" * bool(calibration),
        date=date.today().isoformat(),
        licence=args.licence,
        use=args.use,
        arguments=f"RUN --name {args.name} --val {args.val} --test {args.test}"
        + " --int8" * args.int8,
    )
    weights.with_suffix(".md").write_text(card)
    source = Path(shipped.__file__)
    text = source.read_text()
    for file in files.values():  # the hash is the first string behind the file's name
        text = re.sub(rf'("{file.name}",\s*")\w*', rf"\g<1>{file_digest(file)}", text)
    source.write_text(text)


def _score_row(task, name: str, numbers: dict) -> str:
    found = [each for each in (*task.metrics, *task.more_metrics) if numbers.get(each.name)]
    values = ", ".join(f"{each.title} {each.text(numbers[each.name])}" for each in found)
    row = f"| {name} ({numbers['items']} {task.item}s, this file) | {values} |"
    if per_class := numbers.get("per_class"):
        row += f"\n| {task.primary} by class | {_numbers(per_class)} |"
    return row


def _numbers(values: dict) -> str:
    return ", ".join(
        f"{name} {_numbers(value) if isinstance(value, dict) else f'{value:.2f}'}"
        for name, value in values.items()
    )


if __name__ == "__main__":
    main()
