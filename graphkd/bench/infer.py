"""`graphkd bench infer`: the speed of trained models, from model files and ONNX files."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from graphkd.bench.machine import describe_machine, machine_line, milliseconds, set_threads
from graphkd.errors import UserError
from graphkd.evaluation.timing import Times, alternate
from graphkd.modelfile import read_model
from graphkd.modeling.network import is_untrained, require_device
from graphkd.predict.crops import CropReader
from graphkd.predict.detector import Predictor
from graphkd.predict.onnx_detector import load_onnx
from graphkd.report.tables import plain_table
from graphkd.synthesis import make_page
from graphkd.synthesis.lines import make_line
from graphkd.tasks.base import task_named

SEED = 7
PAGE, LINE = (1024, 768), (32, 320)  # sizes of inputs where the user names none


def measure_inference(
    files: Sequence[Path | str],
    *,
    batches: Sequence[int] = (1, 8),
    size: tuple[int, int] | None = None,
    rounds: int = 20,
    threads: int | None = None,
    device: str = "cpu",
    trust: bool = False,
    clock: str = "wall",
) -> dict:
    """Times models from decoded pictures to boxes, text lines or texts (resizing included) in
    alternating rounds.

    Args:
        files: `.pth`, `.safetensors` or `.onnx` files.
        batches: numbers of pages, or lines of a text recogniser, per call.
        size: (height, width) of these; None for 1024 x 768, or lines of 32 x 320. They are
            generated, so that there is something to find.
        rounds: number of timed calls of every file and batch size.
        threads: number of threads of torch and onnxruntime; None for their defaults.
        device: cpu or cuda.
        trust: read checkpoints that hold more than tensors.
        clock: `wall` or `cpu`, see `graphkd.evaluation.timing.alternate`.

    Returns:
        A dict with `models` (one dict per file and batch size: `file`, `batch`, `median_s`,
        `p95_s`, `pages_per_s`, `boxes_per_page`; of text recognisers `lines_per_s`,
        `characters_per_line`), `untrained` (names of the files with random weights), `settings` and
        `machine`.

    Raises:
        UserError: a file is no model, text recognisers are mixed with detectors, a number is too
            small, or the device does not exist.
    """
    set_threads(threads)
    require_device(device)
    if not batches or min(batches) < 1:
        raise UserError("--batch: use numbers of 1 or more, such as 1,8")
    if size is not None and min(size) < 32:
        raise UserError(f"--size {size[0]} {size[1]}: both must be 32 or more")
    loaded = {
        name: load(file, device=device, threads=threads, trust=trust)
        for name, file in zip(_short_names(files), files, strict=True)
    }
    kinds = {isinstance(model, CropReader) for model, _ in loaded.values()}
    if len(kinds) > 1:
        raise UserError("detectors take pages and text recognisers lines; time them separately")
    reads = True in kinds
    size = size or (LINE if reads else PAGE)
    make = generated_line if reads else generated_page
    pages = [make(index, size) for index in range(max(batches))]
    rows = []
    wait = torch.cuda.synchronize if device.startswith("cuda") else lambda: None
    for batch in batches:
        parts = {
            name: partial(count_found, model, pages[:batch]) for name, (model, _) in loaded.items()
        }
        found = {name: part() for name, part in parts.items()}
        times = alternate(
            parts, rounds=rounds, warm_ups=1, wait=wait, clock=clock, title=f"batch {batch}"
        )
        rows += [_row(name, batch, times[name], found[name], reads=reads) for name in loaded]
    settings = {"size": list(size), "batches": list(batches), "rounds": rounds, "device": device}
    return {
        "models": rows,
        "untrained": [name for name, (_, untrained) in loaded.items() if untrained],
        "settings": {**settings, "clock": clock, "threads": torch.get_num_threads()},
        "machine": describe_machine(device),
    }


def load(
    file: Path | str, *, device: str = "cpu", threads: int | None = None, trust: bool = False
) -> tuple[Predictor, bool]:
    """Loads the model of a file as `graphkd predict` does; also returns whether its weights are
    random.

    Raises:
        UserError: the file is no model of this project.
    """
    path = Path(file)
    if path.suffix == ".onnx":
        detector = load_onnx(path, device=device, threads=threads)
        return detector, detector.header.card.get("untrained") == "yes"
    stored = read_model(path, trust=trust)
    detector = task_named(stored.header.task).predictor(stored, device=device)
    return detector, is_untrained(stored.state)


def count_found(model: Predictor, pages: Sequence[np.ndarray]) -> int:
    """Runs a model on RGB pictures (H, W, 3) uint8 of one size; returns the number of boxes, lines
    or characters.
    """
    found = model.detect([model.prepare(page) for page in pages])
    if isinstance(model, CropReader):
        return sum(len(each.text) for each in found)
    return sum(len(each.scores) for each in found)


def generated_page(index: int, size: tuple[int, int]) -> np.ndarray:
    """A generated document page (H, W, 3) uint8 RGB, stretched to `size`."""
    image = make_page(SEED, index, long_side=max(size)).image.convert("RGB")
    return np.asarray(image.resize((size[1], size[0]), Image.Resampling.BILINEAR))


def generated_line(index: int, size: tuple[int, int]) -> np.ndarray:
    """A generated text line (H, W, 3) uint8 RGB, stretched to `size`."""
    image = Image.fromarray(make_line(SEED, index).image).convert("RGB")
    return np.asarray(image.resize((size[1], size[0]), Image.Resampling.BILINEAR))


def inference_table(result: dict) -> str:
    """The table of `graphkd bench infer`, with a line about untrained models."""
    speed, count = list(result["models"][0])[-2:]
    rows = [
        [
            row["file"],
            row["batch"],
            milliseconds(row["median_s"]),
            milliseconds(row["p95_s"]),
            f"{row[speed]:.2f}",
            f"{row[count]:.1f}",
        ]
        for row in result["models"]
    ]
    names = (speed.replace("_per_", "/"), count.replace("_per_", "/"))
    headings = ("model", "batch", "median ms", "p95 ms", *names)
    lines = [plain_table(rows, headings)]
    if result["untrained"]:
        lines.append(
            f"untrained: {', '.join(result['untrained'])} (random weights find a different number "
            "of boxes than trained ones, which changes the time)"
        )
    return "\n".join([*lines, machine_line(result["machine"])])


def _short_names(files: Sequence[Path | str]) -> list[str]:
    """File names, with as many of their folders as are needed to make them different."""
    if len({Path(file).resolve() for file in files}) < len(files):
        raise UserError("a model file is named twice; name each file once")
    for depth in range(1, 20):
        names = ["/".join(Path(file).parts[-depth:]) for file in files]
        if len(set(names)) == len(names):
            return names
    return [str(file) for file in files]


def _row(name: str, batch: int, times: Times, found: int, *, reads: bool) -> dict:
    speed, count = "pages_per_s", "boxes_per_page"
    if reads:
        speed, count = "lines_per_s", "characters_per_line"
    return {
        "file": name,
        "batch": batch,
        "median_s": times.median,
        "p95_s": times.p95,
        speed: batch * len(times.seconds) / sum(times.seconds),
        count: found / batch,
    }
