"""`graphkd debugtrain`: runs a few iterations with batch size 1, to test a config."""

import argparse

from graphkd.commands import add_run, overrides_of

HELP = "Run a few training iterations of a config with batch size 1 and print every loss term."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run(parser, help="a run's yaml or its name")
    parser.add_argument("--iterations", type=int, default=3, help="number of steps (default: 3)")
    parser.epilog = """examples:
  graphkd debugtrain configs/tiny/R18-MNv4s.yaml
  graphkd debugtrain configs/tiny/R18-MNv4s.yaml --data letters      your own data
  graphkd debugtrain configs/R50-R18.yaml INPUT.MIN_SIZE_TRAIN "(320,)"
"""


def run(args: argparse.Namespace) -> int:
    from graphkd.engine.jobs import debug_job

    debug_job(args.config, overrides_of(args), args.iterations)
    return 0
