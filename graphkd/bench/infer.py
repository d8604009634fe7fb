"""`graphkd bench infer`: how fast trained detectors answer, model files and ONNX files together."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from graphkd.bench.machine import describe_machine, machine_line, milliseconds, set_threads, table
from graphkd.errors import UserError
from graphkd.evaluation.timing import Times, alternate
from graphkd.modelfile import read_model
from graphkd.modeling.network import is_untrained, require_device
from graphkd.predict.detector import Detector
from graphkd.predict.lines import LineDetector
from graphkd.predict.onnx_detector import load_onnx
from graphkd.synthesis import make_page
from graphkd.tasks.base import task_named

SEED = 7


def measure_inference(
    files: Sequence[Path | str],
    *,
    batches: Sequence[int] = (1, 8),
    size: tuple[int, int] = (1024, 768),
    rounds: int = 20,
    threads: int | None = None,
    device: str = "cpu",
    trust: bool = False,
    clock: str = "wall",
) -> dict:
    """Times detectors from decoded pages to boxes or text lines, resizing included, in alternating
    rounds.

    Args:
        files: `.pth`, `.safetensors` or `.onnx`.
        batches: pages a call.
        size: (height, width) of the pages; generated ones, so that there is something to find.
        rounds: timed calls of every file and batch.
        threads: of torch and of onnxruntime; None for their defaults.
        device: cpu or cuda.
        trust: read checkpoints that hold more than tensors.
        clock: `wall` or `cpu`.

    Returns:
        `models`: one dict a file and batch with `file`, `batch`, `median_s`, `p95_s`,
        `pages_per_s`, `boxes_per_page`. `untrained`: names of the files whose weights are random.
        `settings`, `machine`.

    Raises:
        UserError: a file that is no model, a batch or size below 1, or a device that is not there.
    """
    set_threads(threads)
    require_device(device)
    if not batches or min(batches) < 1:
        raise UserError("--batch: name numbers of 1 or more, such as 1,8")
    if min(size) < 32:
        raise UserError(f"--size {size[0]} {size[1]}: give 32 or more")
    loaded = {
        name: load(file, device=device, threads=threads, trust=trust)
        for name, file in zip(_short_names(files), files, strict=True)
    }
    pages = [generated_page(index, size) for index in range(max(batches))]
    rows = []
    wait = torch.cuda.synchronize if device.startswith("cuda") else lambda: None
    for batch in batches:
        parts = {
            name: partial(count_boxes, detector, pages[:batch])
            for name, (detector, _) in loaded.items()
        }
        found = {name: part() for name, part in parts.items()}
        times = alternate(
            parts, rounds=rounds, warm_ups=1, wait=wait, clock=clock, title=f"batch {batch}"
        )
        rows += [_row(name, batch, times[name], found[name]) for name in loaded]
    settings = {"size": list(size), "batches": list(batches), "rounds": rounds, "device": device}
    return {
        "models": rows,
        "untrained": [name for name, (_, untrained) in loaded.items() if untrained],
        "settings": {**settings, "clock": clock, "threads": torch.get_num_threads()},
        "machine": describe_machine(device),
    }


def load(
    file: Path | str, *, device: str = "cpu", threads: int | None = None, trust: bool = False
) -> tuple[Detector | LineDetector, bool]:
    """A detector of `graphkd predict`, and whether its weights are untrained.

    Raises:
        UserError: the file is no detector of this project.
    """
    path = Path(file)
    if path.suffix == ".onnx":
        detector = load_onnx(path, device=device, threads=threads)
        return detector, detector.header.card.get("untrained") == "yes"
    stored = read_model(path, trust=trust)
    detector = task_named(stored.header.task).predictor(stored, device=device)
    return detector, is_untrained(stored.state)


def count_boxes(detector: Detector | LineDetector, pages: Sequence[np.ndarray]) -> int:
    """Runs RGB pages (H, W, 3) uint8 of one size; the number of finds on all of them."""
    found = detector.detect([detector.prepare(page) for page in pages])
    return sum(len(each.scores) for each in found)


def generated_page(index: int, size: tuple[int, int]) -> np.ndarray:
    """A generated document page (H, W, 3) uint8 RGB, stretched to `size`."""
    image = make_page(SEED, index, long_side=max(size)).image.convert("RGB")
    return np.asarray(image.resize((size[1], size[0]), Image.Resampling.BILINEAR))


def inference_table(result: dict) -> str:
    """The table of `graphkd bench infer`, and a line about models without training."""
    rows = [
        [
            row["file"],
            row["batch"],
            milliseconds(row["median_s"]),
            milliseconds(row["p95_s"]),
            f"{row['pages_per_s']:.2f}",
            f"{row['boxes_per_page']:.1f}",
        ]
        for row in result["models"]
    ]
    headings = ("model", "batch", "median ms", "p95 ms", "pages/s", "boxes/page")
    lines = [table(rows, headings)]
    if result["untrained"]:
        lines.append(
            f"untrained: {', '.join(result['untrained'])} (random weights find another number of "
            "boxes than trained ones, so the time differs, too)"
        )
    return "\n".join([*lines, machine_line(result["machine"])])


def _short_names(files: Sequence[Path | str]) -> list[str]:
    """File names, with as much of their folders as tells them apart."""
    if len({Path(file).resolve() for file in files}) < len(files):
        raise UserError("a model file is named twice; name every file once")
    for depth in range(1, 20):
        names = ["/".join(Path(file).parts[-depth:]) for file in files]
        if len(set(names)) == len(names):
            return names
    return [str(file) for file in files]


def _row(name: str, batch: int, times: Times, boxes: int) -> dict:
    return {
        "file": name,
        "batch": batch,
        "median_s": times.median,
        "p95_s": times.p95,
        "pages_per_s": batch * len(times.seconds) / sum(times.seconds),
        "boxes_per_page": boxes / batch,
    }
