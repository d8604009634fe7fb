"""Writes the student that comes with the package: half precision, thresholds, model card, hash."""

import argparse
import re
from datetime import date
from pathlib import Path

import torch
import yaml
from detectron2.data import DatasetCatalog, build_detection_test_loader

from graphkd import shipped
from graphkd.data.catalog import register_all
from graphkd.data.mapper import PageMapper
from graphkd.evaluation.coco import coco_results, evaluate, ground_truth
from graphkd.evaluation.matching import best_thresholds
from graphkd.io import file_digest
from graphkd.modelfile import ModelFile, build_detector, read_model, write_safetensors
from graphkd.modeling.network import parameters

CARD = """# The student that comes with graphkd

{about}

| | |
|---|---|
| detector | Faster R-CNN with FPN, MobileNetV4-small, {parameters:.1f} M parameters |
| file | `student.safetensors`, {megabytes:.1f} MB, float16 |
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
    """Reads a finished run and writes graphkd/weights/ and the hash in graphkd/shipped.py."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("--val", default="pages_tiny_val", help="set the thresholds are fitted to")
    parser.add_argument("--test", default="pages_tiny_test", help="set that is scored")
    parser.add_argument("--about", default="Trained by `graphkd train`.", help="first sentence")
    args = parser.parse_args()
    register_all()
    stored = read_model(args.run / "model_final.pth")
    run = yaml.safe_load((args.run / "config.yaml").read_text())
    shipped.WEIGHTS.parent.mkdir(exist_ok=True)
    write_safetensors(shipped.WEIGHTS, stored)
    half = read_model(shipped.WEIGHTS)
    thresholds = _thresholds(half, args.val)
    method = " + ".join(run["DISTILL"]["LOSSES"])
    write_safetensors(
        shipped.WEIGHTS,
        half,
        thresholds=thresholds,
        card={"method": method, "seed": str(run["SEED"])},
    )
    model = build_detector(read_model(shipped.WEIGHTS))
    scores = evaluate(model, _loader(half, args.test), args.test, classes=half.classes)
    card = CARD.format(
        about=args.about,
        parameters=parameters(model) / 1e6,
        megabytes=shipped.WEIGHTS.stat().st_size / 1e6,
        classes=", ".join(half.classes),
        train=", ".join(run["DATASETS"]["TRAIN"]),
        steps=run["SOLVER"]["MAX_ITER"],
        batch=run["SOLVER"]["IMS_PER_BATCH"],
        seed=run["SEED"],
        method=method,
        side=run["INPUT"]["MAX_SIZE_TEST"],
        test=args.test,
        val=args.val,
        pages=scores["images"],
        AP=scores["AP"],
        AP50=scores["AP50"],
        AP75=scores["AP75"],
        thresholds=", ".join(f"{name} {value:.2f}" for name, value in thresholds.items()),
        per_class=", ".join(f"{name} {value:.1f}" for name, value in scores["per_class"].items()),
        date=date.today().isoformat(),
        run="RUN",
        arguments=f"--val {args.val} --test {args.test}",
    )
    shipped.WEIGHTS.with_suffix(".md").write_text(card)
    digest = file_digest(shipped.WEIGHTS)
    source = Path(shipped.__file__)
    source.write_text(re.sub(r'SHA256 = "\w*"', f'SHA256 = "{digest}"', source.read_text()))


def _loader(stored: ModelFile, name: str):
    return build_detection_test_loader(
        stored.cfg, name, mapper=PageMapper(stored.cfg, is_train=False)
    )


def _thresholds(stored: ModelFile, name: str) -> dict[str, float]:
    model = build_detector(stored)
    results = []
    for page in _loader(stored, name):
        with torch.no_grad():
            outputs = model(page)
        results += coco_results(page[0]["image_id"], outputs[0]["instances"])
    return best_thresholds(ground_truth(DatasetCatalog.get(name), stored.classes), results)


if __name__ == "__main__":
    main()
