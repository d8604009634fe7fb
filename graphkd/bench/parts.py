"""Builds the parts of a training step for measurements: plain student, teacher, distilled student.

The pages are made up from a seed, so no data set is needed.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.structures import Boxes, Instances
from detectron2.utils.env import seed_all_rng
from detectron2.utils.events import EventStorage
from torch import Tensor, nn

from graphkd.compare.plan import contest_of
from graphkd.config import find_config, load_cfg
from graphkd.data.catalog import register_all
from graphkd.distill.distiller import Distiller
from graphkd.distill.run_teacher import build_teacher, load_teacher_cfg, teacher_weights
from graphkd.distill.teacher import Teacher
from graphkd.engine.build import build_distiller, build_student
from graphkd.engine.solver import autocast_format, build_optimizer, check_settings
from graphkd.engine.trainer import Trainer
from graphkd.errors import UserError
from graphkd.modeling.network import HEAD_NODES, build_network
from graphkd.tasks.base import task_of
from graphkd.views import view_of

SEED = 1
PARTS = ("plain", "teacher", "distilled")
# Later than the end of every ramp, so that all terms have their full weight.
ITERATION = 10**9
SMALLEST_SIDE = 32
OBJECTS_A_PAGE = 12


@dataclass(frozen=True)
class StepOptions:
    """What to measure.

    Attributes:
        config: path of the run's yaml.
        overrides: KEY VALUE pairs.
        method: name of a yaml in configs/methods whose losses replace those of the config; several
            are joined with +. None for the config's own losses.
        size: (height, width) of the pages.
        batch: number of pages per step.
        regions: number of sampled regions per page; None for that of the config.
        threads: number of torch's threads; None for its default.
    """

    config: str
    overrides: tuple[str, ...] = ()
    method: str | None = None
    size: tuple[int, int] = (320, 320)
    batch: int = 2
    regions: int | None = None
    threads: int | None = None


@dataclass(frozen=True)
class ReadyStep:
    """A config and its pages, ready for a measurement.

    Attributes:
        cfg: the frozen config; its learning rate is 0, so that all steps compute the same.
        source: the yaml it came from.
        batch: the pages.
        random_teacher: whether the teacher has random weights.
    """

    cfg: CfgNode
    source: Path
    batch: list[dict]
    random_teacher: bool


def prepare(options: StepOptions, folder: Path) -> ReadyStep:
    """Reads the config and draws the pages.

    Args:
        options: what to measure.
        folder: a temporary folder for the weights of a random teacher.

    Raises:
        UserError: a wrong config or option, or a config without losses.
    """
    source, cfg = read_config(options)
    cfg.SOLVER.BASE_LR, cfg.OUTPUT_DIR = 0.0, str(folder)
    if options.regions is not None:
        kind = cfg.MODEL.META_ARCHITECTURE
        if kind in HEAD_NODES:
            raise UserError(f"--regions: {kind} samples no regions; leave it out")
        if options.regions < 1:
            raise UserError(f"--regions is {options.regions}; it must be 1 or more")
        cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE = options.regions
    register_all()
    batch = made_up_batch(
        options.batch, size=options.size, num_classes=task_of(cfg).class_count(cfg)
    )
    teacher_cfg = load_teacher_cfg(cfg, source=source)
    random_teacher = not teacher_weights(cfg, teacher_cfg).is_file()
    if random_teacher:
        cfg.DISTILL.TEACHER.WEIGHTS = str(_random_teacher(teacher_cfg, batch, folder))
    cfg.freeze()
    return ReadyStep(cfg, source, batch, random_teacher)


def read_config(options: StepOptions) -> tuple[Path, CfgNode]:
    """The yaml of a distilled run, and its config (not frozen) with the losses of `method`.

    Raises:
        UserError: a wrong config or option, or a config without losses.
    """
    source = find_config(options.config)
    if options.method is None:
        cfg = load_cfg(source, options.overrides)
    else:
        methods = [options.method]
        overrides = list(options.overrides)
        cfg = contest_of([options.config], overrides, methods=methods, out=Path()).cfg.clone()
        cfg.defrost()
    if not cfg.DISTILL.LOSSES:
        raise UserError(f"{source}: DISTILL.LOSSES is empty; name the config of a distilled run")
    check_settings(cfg)
    return source, cfg


def made_up_batch(
    pages: int, *, size: tuple[int, int], num_classes: int, seed: int = 0
) -> list[dict]:
    """A training batch of light pages with noise in their boxes; equal arguments give equal pages.

    Returns:
        Detectron2's dicts with uint8 `image` (3, H, W) and `instances` with 12 boxes, of classes
        0..num_classes-1.

    Raises:
        UserError: no pages, or a side is too short for an FPN.
    """
    if pages < 1:
        raise UserError(f"a batch of {pages} pages measures nothing; use 1 or more")
    if min(size) < SMALLEST_SIDE:
        raise UserError(
            f"pages of {size[0]} x {size[1]} are too small; use {SMALLEST_SIDE} or more"
        )
    draw = torch.Generator().manual_seed(seed)
    return [_page(number, size, num_classes, draw) for number in range(pages)]


def fresh_student(prepared: ReadyStep) -> nn.Module:
    """The student with the same initial weights at every call, in training mode."""
    seed_all_rng(SEED)
    return build_student(prepared.cfg).train()


def fresh_distiller(prepared: ReadyStep) -> Distiller:
    """The Distiller around `fresh_student`, in training mode."""
    student = fresh_student(prepared)
    return build_distiller(prepared.cfg, student, source=prepared.source).train()


def fresh_teacher(prepared: ReadyStep) -> Teacher:
    """The teacher of `fresh_distiller` alone."""
    return build_teacher(prepared.cfg, fresh_student(prepared), source=prepared.source)


def training_step(prepared: ReadyStep, model: nn.Module) -> Callable[[], None]:
    """A function that takes one step of this project's trainer on `model`, with the same random
    draws at every call.
    """
    cfg = prepared.cfg
    device = torch.device(cfg.MODEL.DEVICE)
    trainer = Trainer(
        model,
        build_optimizer(cfg, model),
        device=device,
        amp=autocast_format(cfg, device),
        log_period=ITERATION,
        output_dir=Path(cfg.OUTPUT_DIR),
    )
    trainer.set_loader(itertools.repeat(prepared.batch))
    trainer.start_iter, trainer.iter = 0, ITERATION - 2
    trainer.storage = EventStorage(0)

    def step() -> None:
        torch.manual_seed(SEED)
        with trainer.storage:
            trainer.run_step()

    return step


def teacher_forward(
    prepared: ReadyStep,
    teacher: Teacher,
    needs: frozenset[str],
    boxes: tuple[Tensor, ...] | None,
) -> Callable[[], None]:
    """A function that computes the teacher's outputs in `needs` at `boxes`, in the number format of
    the run.
    """
    device = torch.device(prepared.cfg.MODEL.DEVICE)
    amp = autocast_format(prepared.cfg, device)

    def observe() -> None:
        with torch.autocast(device.type, dtype=amp, enabled=amp is not None):
            teacher.observe(prepared.batch, boxes, needs)

    return observe


def student_boxes(prepared: ReadyStep, student: nn.Module) -> tuple[Tensor, ...] | None:
    """Per page (R_i, 4), the regions that `training_step` samples; None for one-stage detectors."""
    device = torch.device(prepared.cfg.MODEL.DEVICE)
    amp = autocast_format(prepared.cfg, device)
    torch.manual_seed(SEED)
    with (
        torch.no_grad(),
        EventStorage(0),
        torch.autocast(device.type, dtype=amp, enabled=amp is not None),
    ):
        _, outputs, _ = view_of(student).step(prepared.batch)
    return None if outputs.regions is None else tuple(outputs.regions.boxes)


def _random_teacher(teacher_cfg: CfgNode, batch: list[dict], folder: Path) -> Path:
    """Writes random weights of a teacher. Its normalisation statistics are those of the pages,
    because activations of deep networks overflow otherwise.
    """
    seed_all_rng(SEED + 1)
    model = build_network(teacher_cfg)
    norms = [each for each in model.modules() if isinstance(each, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        model.backbone.train()(model.preprocess_image(batch).tensor)
    path = folder / "random_teacher.pth"
    torch.save({"model": model.state_dict()}, path)
    return path


def _page(number: int, size: tuple[int, int], num_classes: int, draw: torch.Generator) -> dict:
    boxes = _boxes(size, draw)
    image = torch.full((3, *size), 245, dtype=torch.uint8)
    for x1, y1, x2, y2 in boxes.round().int().tolist():
        block = image[:, y1:y2, x1:x2]
        noise = torch.randint(0, 256, block.shape[1:], generator=draw, dtype=torch.uint8)
        block.copy_(noise.expand_as(block))
    instances = Instances(size)
    instances.gt_boxes = Boxes(boxes)
    instances.gt_classes = torch.randint(0, num_classes, (len(boxes),), generator=draw)
    return {
        "image": image,
        "instances": instances,
        "height": size[0],
        "width": size[1],
        "image_id": number,
        "file_name": f"made-up page {number}",
    }


def _boxes(size: tuple[int, int], draw: torch.Generator) -> Tensor:
    """(12, 4) boxes inside the page; their sides are 0.05 to 0.4 of the page's."""
    sides = torch.tensor([size[1], size[0]], dtype=torch.float32)
    extent = (0.05 + 0.35 * torch.rand(OBJECTS_A_PAGE, 2, generator=draw)) * sides
    corner = torch.rand(OBJECTS_A_PAGE, 2, generator=draw) * (sides - extent)
    return torch.cat([corner, corner + extent], 1)
