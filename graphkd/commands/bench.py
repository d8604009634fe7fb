"""`graphkd bench`: speed and memory of training steps, graphs, inference and data; measured in
graphkd.bench.
"""

import argparse
from pathlib import Path

HELP = "measure speed and memory: training steps, graphs, inference, data"

_EPILOG = """examples:
  graphkd bench step configs/R50-R18.yaml             what distillation adds to a step
  graphkd bench graph                                 how graph losses grow with nodes
  graphkd bench infer student.pth student.onnx        latency side by side
  graphkd bench data configs/tiny/R18-MNv4s.yaml      loader, synthesis, evaluation
  graphkd bench step --help                           options and examples of one of them

Close other programs first: every table says how busy the machine was."""

_STEP_EPILOG = """Pages are made up, so no data set is needed; a teacher without weights is random.
overhead = distilled step / (plain step + forward of the teacher's parts the losses read).

examples:
  graphkd bench step configs/R50-R18.yaml --size 320 320 --regions 512 --threads 2
  graphkd bench step configs/R50-R18.yaml --method dsig
  graphkd bench step configs/R50-R18.yaml MODEL.DEVICE cuda --size 800 608 --batch 4
  graphkd bench step configs/R50-R18.yaml --clock cpu --json step.json"""

_GRAPH_EPILOG = """examples:
  graphkd bench graph --nodes 16,64,256,1024 --threads 1
  graphkd bench graph --config configs/R50-R18.yaml   also its share of a distilled step"""

_INFER_EPILOG = """examples:
  graphkd bench infer teacher.pth student.safetensors student.onnx
  graphkd bench infer output/demo/*/model_final.pth --batch 1 --size 320 240 --threads 1"""

_DATA_EPILOG = """examples:
  graphkd bench data pages_tiny_train --workers 0,2
  graphkd bench data configs/R50-R18.yaml --workers 0,1,2,4 --json data.json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare `step`, `graph`, `infer` and `data`."""
    parser.epilog = _EPILOG
    actions = parser.add_subparsers(dest="action", required=True, metavar="{step,graph,infer,data}")

    def action(name: str, text: str, epilog: str) -> argparse.ArgumentParser:
        made = actions.add_parser(
            name,
            help=text,
            description=text,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        made.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers here")
        return made

    _step_arguments(action("step", "what distillation adds to a training step", _STEP_EPILOG))
    _graph_arguments(action("graph", "graph building and losses by nodes", _GRAPH_EPILOG))
    _infer_arguments(action("infer", "latency and throughput of trained models", _INFER_EPILOG))
    _data_arguments(action("data", "loader, page synthesis and COCO evaluation", _DATA_EPILOG))


def _step_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", help="a run's yaml with a teacher and losses")
    parser.add_argument("overrides", nargs="*", metavar="KEY VALUE", help="config keys to change")
    parser.add_argument(
        "--method", help="losses of configs/methods/METHOD.yaml instead; several joined with +"
    )
    parser.add_argument("--steps", type=int, default=10, help="timed rounds (default 10)")
    _size(parser, (320, 320))
    parser.add_argument("--batch", type=int, default=2, help="pages a step (default 2)")
    parser.add_argument(
        "--regions", type=int, help="sampled regions a page (default: the config's)"
    )
    parser.add_argument("--no-memory", action="store_true", help="leave peak memory out")
    _timing(parser)


def _graph_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("overrides", nargs="*", metavar="KEY VALUE", help="keys of --config")
    parser.add_argument(
        "--nodes",
        type=_numbers,
        default=[16, 32, 64, 128, 192, 256, 512, 1024],
        help="nodes a page (default 16,32,64,128,192,256,512,1024)",
    )
    parser.add_argument("--channels", type=int, default=256, help="of RoI features (default 256)")
    parser.add_argument("--rounds", type=int, default=10, help="timed rounds (default 10)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default cpu)")
    parser.add_argument("--config", help="also the share of a distilled step of this run")
    _timing(parser)


def _infer_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("weights", nargs="+", metavar="FILE", help=".pth, .safetensors or .onnx")
    parser.add_argument("--batch", type=_numbers, default=[1, 8], help="pages a call (default 1,8)")
    _size(parser, (1024, 768))
    parser.add_argument("--rounds", type=int, default=20, help="timed rounds (default 20)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default cpu)")
    parser.add_argument(
        "--trust", action="store_true", help="read files that hold more than tensors"
    )
    _timing(parser)


def _data_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", metavar="CONFIG|DATASET", help="a run's yaml or a data set name")
    parser.add_argument("overrides", nargs="*", metavar="KEY VALUE", help="keys of CONFIG")
    parser.add_argument(
        "--workers", type=_numbers, default=[0, 1, 2], help="loader processes (default 0,1,2)"
    )
    parser.add_argument("--pages", type=int, default=64, help="timed pages a loader (default 64)")
    parser.add_argument(
        "--evaluated", type=int, default=5000, help="made-up pages to score (default 5000)"
    )
    parser.add_argument("--made", type=int, default=10, help="pages to synthesise (default 10)")


def _size(parser: argparse.ArgumentParser, default: tuple[int, int]) -> None:
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        metavar=("H", "W"),
        default=default,
        help=f"pixels of the pages (default {default[0]} {default[1]})",
    )


def _timing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threads", type=int, help="threads of one operation")
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="wall time, or processor time of this process where others share the machine",
    )


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no list of whole numbers such as 1,8"
        ) from None


def run(args: argparse.Namespace) -> int:
    """Measure and print; returns the exit code."""
    import logging

    # Detectron2 and fvcore log every layer they fill; a table of numbers is what was asked for.
    logging.getLogger("fvcore").setLevel(logging.ERROR)
    logging.getLogger("detectron2").setLevel(logging.ERROR)
    text, result = {"step": _step, "graph": _graph, "infer": _infer, "data": _data}[args.action](
        args
    )
    print(text)
    if args.json:
        from graphkd.io import write_json

        write_json(args.json, result)
        print(f"numbers: {args.json}")
    return 0


def _step(args: argparse.Namespace) -> tuple[str, dict]:
    from graphkd.bench.pair import StepOptions
    from graphkd.bench.step import measure_step
    from graphkd.bench.tables import step_table

    options = StepOptions(
        config=args.config,
        overrides=tuple(args.overrides),
        method=args.method,
        size=tuple(args.size),
        batch=args.batch,
        regions=args.regions,
        threads=args.threads,
    )
    result = measure_step(options, steps=args.steps, clock=args.clock, memory=not args.no_memory)
    return step_table(result), result


def _graph(args: argparse.Namespace) -> tuple[str, dict]:
    from graphkd.bench.graph import SHARE_NODES, measure_graph, measure_share
    from graphkd.bench.pair import StepOptions, read_config
    from graphkd.bench.tables import graph_table
    from graphkd.errors import UserError

    if args.overrides and not args.config:
        raise UserError("KEY VALUE pairs go with --config CONFIG")
    nodes = args.nodes
    if args.config:
        # A wrong one shows before minutes of timing.
        read_config(StepOptions(args.config, tuple(args.overrides)))
        nodes = [*nodes, SHARE_NODES]
    result = measure_graph(
        nodes,
        channels=args.channels,
        rounds=args.rounds,
        threads=args.threads,
        device=args.device,
        clock=args.clock,
    )
    share = measure_share(args.config, args.overrides, result) if args.config else None
    return graph_table(result, share), {**result, "step": share}


def _infer(args: argparse.Namespace) -> tuple[str, dict]:
    from graphkd.bench.infer import measure_inference
    from graphkd.bench.tables import inference_table

    result = measure_inference(
        args.weights,
        batches=args.batch,
        size=tuple(args.size),
        rounds=args.rounds,
        threads=args.threads,
        device=args.device,
        trust=args.trust,
        clock=args.clock,
    )
    return inference_table(result), result


def _data(args: argparse.Namespace) -> tuple[str, dict]:
    from graphkd.bench.data import measure_data
    from graphkd.bench.tables import data_table

    result = measure_data(
        args.target,
        args.overrides,
        workers=args.workers,
        pages=args.pages,
        evaluated=args.evaluated,
        made=args.made,
    )
    return data_table(result), result
