"""How graph losses grow with the number of nodes: building and losses alone on made-up regions."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from graphkd.bench.machine import describe_machine, machine_line, milliseconds, set_threads
from graphkd.bench.parts import StepOptions, read_config
from graphkd.bench.step import measure_step
from graphkd.commands.bench import add_timing, whole_numbers
from graphkd.distill.losses.base import DistillLoss, LossContext
from graphkd.distill.losses.build import build_losses
from graphkd.distill.outputs import Outputs, Regions, Targets
from graphkd.errors import UserError
from graphkd.evaluation.timing import alternate
from graphkd.io import write_json
from graphkd.modeling.network import require_device
from graphkd.report.tables import DASH, plain_table

METHODS = ("graphkd", "dsig")
NODES = (16, 32, 64, 128, 192, 256, 512, 1024)
MAX_BACKGROUND = 64
LARGE = 128
SHARE_NODES = 192
CLASSES = 5
PAGE = 1000


EPILOG = """examples:
  python tools/bench_graph.py --nodes 16,64,256,1024 --threads 1
  python tools/bench_graph.py --config configs/R50-R18.yaml   also its share of a distilled step"""


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints; returns the exit code, 2 for a mistake of the user."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("overrides", nargs="*", metavar="KEY VALUE", help="keys of --config")
    add("--nodes", type=whole_numbers, default=NODES, help="nodes a page (default 16,32,..,1024)")
    add("--channels", type=int, default=256, help="of RoI features (default 256)")
    add("--rounds", type=int, default=10, help="timed rounds (default 10)")
    add("--device", default="cpu", help="cpu or cuda (default cpu)")
    add("--config", help="also the share of a distilled step of this run")
    add("--json", type=Path, metavar="FILE", help="also write the numbers here")
    add_timing(parser)
    args = parser.parse_args(argv)
    try:
        result, share = _measure(args)
    except UserError as error:
        print(f"bench_graph: {error}", file=sys.stderr)
        return 2
    print(graph_table(result, share))
    if args.json:
        write_json(args.json, {**result, "step": share})
    return 0


def _measure(args: argparse.Namespace) -> tuple[dict, dict | None]:
    if args.overrides and not args.config:
        raise UserError("KEY VALUE pairs go with --config CONFIG")
    nodes = list(args.nodes)
    if args.config:
        # A wrong config is an error now, not after minutes of timing.
        read_config(StepOptions(args.config, tuple(args.overrides)))
        nodes.append(SHARE_NODES)
    result = measure_graph(
        nodes,
        channels=args.channels,
        rounds=args.rounds,
        threads=args.threads,
        device=args.device,
        clock=args.clock,
    )
    share = measure_share(args.config, args.overrides, result) if args.config else None
    return result, share


def graph_table(result: dict, share: dict | None = None) -> str:
    """The numbers as text for a terminal."""
    methods = result["methods"]
    rows = [
        [size, *(milliseconds(values["seconds"][size]) for values in methods.values())]
        for size in result["settings"]["nodes"]
    ]
    for key, label in (("exponent", "growth"), ("exponent_large", "growth from 128 nodes")):
        growths = (values[key] for values in methods.values())
        rows.append([label, *(DASH if each is None else f"{each:.2f}" for each in growths)])
    lines = [plain_table(rows, ("nodes a page", *(f"{name} ms" for name in methods)))]
    lines.append("forward and backward of one page; growth p: seconds ~ nodes ** p")
    if share is not None:
        parts = ", ".join(f"{name} {100 * part:.1f} %" for name, part in share["share"].items())
        lines.append(
            f"share of a distilled step of {share['config']} "
            f"({milliseconds(share['distilled_s'])} ms) at {SHARE_NODES} nodes a page: {parts}"
        )
    return "\n".join([*lines, machine_line(result["machine"])])


def measure_graph(
    nodes: Sequence[int] = NODES,
    *,
    channels: int = 256,
    rounds: int = 10,
    threads: int | None = None,
    device: str = "cpu",
    clock: str = "wall",
) -> dict:
    """Times graph building, losses and their backward pass of one page, per number of nodes.

    Args:
        nodes: regions a page that become nodes, each 2 or more.
        channels: width of the RoI features of both networks, 7 x 7 cells.
        rounds: timed rounds.
        threads: of torch; None for its default.
        device: cpu or cuda.
        clock: `wall` or `cpu`.

    Returns:
        `methods`: name -> `seconds` {nodes: median}, `spread` {nodes: quartiles}, `exponent` p of
        `seconds ~ nodes ** p`, and `exponent_large` over the sizes from 128 on, both None where
        there are too few. `settings`, `machine`.

    Raises:
        UserError: a wrong number of nodes, channels or rounds, or a device that is not there.
    """
    set_threads(threads)
    require_device(device)
    sizes = sorted(set(nodes))
    if not sizes or sizes[0] < 2:
        raise UserError("--nodes: name numbers of 2 or more, such as 16,64,256")
    if channels < 2:
        raise UserError(f"--channels {channels}: give 2 or more")
    wait = torch.cuda.synchronize if device.startswith("cuda") else lambda: None
    found: dict[str, dict] = {method: {"seconds": {}, "spread": {}} for method in METHODS}
    for size in sizes:
        parts = {method: loss_step(method, size, channels, device=device) for method in METHODS}
        times = alternate(parts, rounds=rounds, wait=wait, clock=clock, title=f"{size} nodes")
        for method in METHODS:
            found[method]["seconds"][size] = times[method].median
            found[method]["spread"][size] = list(times[method].quartiles)
    for method in METHODS:
        found[method] |= _growth(found[method]["seconds"])
    settings = {"nodes": sizes, "channels": channels, "rounds": rounds, "clock": clock}
    return {"methods": found, "settings": settings, "machine": describe_machine(device)}


def measure_share(config: Path | str, overrides: Sequence[str], result: dict) -> dict:
    """What share of a distilled training step of `config` the graph of every method takes.

    Args:
        config: a run's yaml; its methods do not matter, its detectors do.
        overrides: KEY VALUE pairs.
        result: of `measure_graph`; must hold 192 nodes.

    Returns:
        `distilled_s`, and `share` {method: seconds at 192 nodes a page over those of the step}.
    """
    options = StepOptions(str(config), tuple(overrides))
    settings = result["settings"]
    step = measure_step(options, steps=3, clock=settings["clock"], memory=False)
    share = {
        method: options.batch * values["seconds"][SHARE_NODES] / step["distilled_s"]
        for method, values in result["methods"].items()
    }
    return {"config": str(config), "distilled_s": step["distilled_s"], "share": share}


def loss_step(method: str, nodes: int, channels: int, *, device: str) -> Callable[[], None]:
    """A call of a graph loss with its backward pass, on one page of exactly `nodes` nodes."""
    levels = ("p2", "p3", "p4", "p5")
    context = LossContext(
        channels=dict.fromkeys(levels, (channels, channels)),
        levels=levels,
        num_classes=CLASSES,
        text_classes=(0, 1),
        two_stage=True,
        shared_regions=True,
        same_anchors=True,
        same_box_codes=True,
    )
    built = build_losses({method: {}}, context, source="bench_graph")
    loss: DistillLoss = built[method].module.to(device).train()
    student, teacher, targets = made_up_regions(nodes, channels, device=device)
    features = student.regions.features

    def step() -> None:
        features.grad = None
        sum(loss(student, teacher, targets).values()).backward()

    return step


def made_up_regions(
    nodes: int, channels: int, *, device: str, seed: int = 0
) -> tuple[Outputs, Outputs, Targets]:
    """Regions of one page that all become nodes: a quarter, at most 64, is hard background.

    Half of the others are text. The student's features require a gradient.
    """
    draw = torch.Generator().manual_seed(seed)
    background = min(nodes // 4, MAX_BACKGROUND)
    labels = torch.arange(nodes) % CLASSES
    labels[: (nodes - background) // 2] %= 2
    labels[nodes - background :] = CLASSES
    corner = PAGE * torch.rand(nodes, 2, generator=draw)
    boxes = torch.cat([corner, corner + 20 + 100 * torch.rand(nodes, 2, generator=draw)], 1)
    looks = torch.randn(CLASSES + 1, channels, 1, 1, generator=draw)

    def features() -> Tensor:
        return looks[labels] + torch.randn(nodes, channels, 7, 7, generator=draw)

    logits = torch.zeros(nodes, CLASSES + 1)
    logits[:, -1] = -3.0  # surprised by background: cross entropy far above the 0.6 of a hard one
    own = (boxes.to(device),)
    student = Regions(own, features().to(device).requires_grad_())
    teacher = Regions(own, features().to(device), logits.to(device))
    truth = labels < CLASSES
    targets = Targets(
        boxes=(boxes[truth].to(device),),
        classes=(labels[truth].to(device),),
        image_sizes=((PAGE, PAGE),),
        strides={},
        num_classes=CLASSES,
        region_labels=labels.to(device),
        region_boxes=own[0],
        region_levels=(torch.arange(nodes) % 4).to(device),
    )
    return Outputs({}, regions=student), Outputs({}, regions=teacher), targets


def _growth(seconds: dict[int, float]) -> dict[str, float | None]:
    large = {size: value for size, value in seconds.items() if size >= LARGE}
    return {
        "exponent": growth_exponent(list(seconds), list(seconds.values())),
        "exponent_large": growth_exponent(list(large), list(large.values())),
    }


def growth_exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float | None:
    """The p of `seconds ~ size ** p`, fitted on logarithms; None for fewer than two sizes."""
    if len(set(sizes)) < 2:
        return None
    slope, _ = np.polyfit(np.log(sizes), np.log(seconds), 1)
    return float(slope)


if __name__ == "__main__":
    sys.exit(main())
