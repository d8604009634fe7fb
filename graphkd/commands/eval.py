"""`graphkd eval`: scores a trained model."""

import argparse

from graphkd.commands import add_run

HELP = "Score a trained model on its test set or another one (default: the newest run)."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run(parser, nargs="?", help="a run's folder, or its yaml")
    parser.add_argument("--json", metavar="FILE", help="also write the numbers as json")
    parser.epilog = """examples:
  graphkd eval                                           the newest run under output/
  graphkd eval output/R50-R18
  graphkd eval configs/R50-R18.yaml                      the run that this yaml trained
  graphkd eval output/R50-R18 --data publaynet           the same model on another data set
  graphkd eval configs/R50-R18.yaml MODEL.WEIGHTS student.pth

The data set of --data must have the classes of the model. If you give a yaml, the run that was
trained with the same --data is scored if it exists, otherwise the run of the yaml itself.
"""


def run(args: argparse.Namespace) -> int:
    from graphkd.engine.jobs import eval_job

    eval_job(args.config, args.overrides, args.json, data=args.data)
    return 0
