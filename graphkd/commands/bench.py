"""`graphkd bench`: speed of trained models, speed and memory of training steps."""

import argparse
from pathlib import Path

HELP = "measure the speed of trained models, and what distillation adds to a training step"

_EPILOG = """examples:
  graphkd bench infer student.pth student.onnx        latency side by side
  graphkd bench step configs/R50-R18.yaml             what distillation adds to a step
  graphkd bench step --help                           options and examples of one of them

Close other programs first: every table says how busy the machine was."""

_STEP_EPILOG = """Pages are made up, so no data set is needed; a teacher without weights is random.
overhead = distilled step / (plain step + forward of the teacher's parts the losses read).

examples:
  graphkd bench step configs/R50-R18.yaml --size 320 320 --regions 512 --threads 2
  graphkd bench step configs/R50-R18.yaml --method dsig
  graphkd bench step configs/R50-R18.yaml MODEL.DEVICE cuda --size 800 608 --batch 4
  graphkd bench step configs/R50-R18.yaml --clock cpu --json step.json"""

_INFER_EPILOG = """examples:
  graphkd bench infer teacher.pth student.safetensors student.onnx
  graphkd bench infer output/demo/*/model_final.pth --batch 1 --size 320 240 --threads 1
  graphkd bench infer reader.pth reader.onnx --batch 1,32 --threads 1    text recognisers"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares `infer` and `step`."""
    parser.epilog = _EPILOG
    actions = parser.add_subparsers(dest="action", required=True, metavar="{infer,step}")

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
    _infer_arguments(action("infer", "latency and throughput of trained models", _INFER_EPILOG))


def _step_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", help="a run's yaml with a teacher and losses")
    parser.add_argument("overrides", nargs="*", metavar="KEY VALUE", help="config keys to change")
    parser.add_argument(
        "--method", help="losses of configs/methods/METHOD.yaml instead; several joined with +"
    )
    parser.add_argument("--steps", type=int, default=10, help="timed rounds (default 10)")
    _size(parser, (320, 320))
    parser.add_argument("--batch", type=int, default=2, help="pages per step (default 2)")
    parser.add_argument(
        "--regions", type=int, help="sampled regions per page (default: as in the config)"
    )
    parser.add_argument("--no-memory", action="store_true", help="do not measure peak memory")
    add_timing(parser)


def _infer_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("weights", nargs="+", metavar="FILE", help=".pth, .safetensors or .onnx")
    parser.add_argument(
        "--batch", type=whole_numbers, default=[1, 8], help="pages or lines per call (default 1,8)"
    )
    _size(parser, None)
    parser.add_argument("--rounds", type=int, default=20, help="timed rounds (default 20)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default cpu)")
    parser.add_argument(
        "--trust", action="store_true", help="read files that hold more than tensors"
    )
    add_timing(parser)


def _size(parser: argparse.ArgumentParser, default: tuple[int, int] | None) -> None:
    words = "1024 768, lines of recognisers 32 320" if default is None else "{} {}".format(*default)
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        metavar=("H", "W"),
        default=default,
        help=f"pixels of the pages (default {words})",
    )


def add_timing(parser: argparse.ArgumentParser) -> None:
    """Declares `--threads` and `--clock`."""
    parser.add_argument("--threads", type=int, help="threads of one operation")
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="wall time, or processor time of this process where others share the machine",
    )


def whole_numbers(text: str) -> list[int]:
    """An argument such as 1,8 as a list.

    Raises:
        argparse.ArgumentTypeError: another text.
    """
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no list of whole numbers such as 1,8"
        ) from None


def run(args: argparse.Namespace) -> int:
    """Measures and prints; returns the exit code."""
    import logging

    # Detectron2 and fvcore log every layer that they load; only the table should be printed.
    logging.getLogger("fvcore").setLevel(logging.ERROR)
    logging.getLogger("detectron2").setLevel(logging.ERROR)
    text, result = {"infer": _infer, "step": _step}[args.action](args)
    print(text)
    if args.json:
        from graphkd.io import write_json

        write_json(args.json, result)
        print(f"numbers: {args.json}")
    return 0


def _step(args: argparse.Namespace) -> tuple[str, dict]:
    from graphkd.bench.parts import StepOptions
    from graphkd.bench.step import measure_step, step_table

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


def _infer(args: argparse.Namespace) -> tuple[str, dict]:
    from graphkd.bench.infer import inference_table, measure_inference

    result = measure_inference(
        args.weights,
        batches=args.batch,
        size=args.size and tuple(args.size),
        rounds=args.rounds,
        threads=args.threads,
        device=args.device,
        trust=args.trust,
        clock=args.clock,
    )
    return inference_table(result), result
