"""`graphkd eval`: COCO AP of a trained model."""

import argparse

HELP = "Evaluate a trained model by COCO AP (without a config: the newest run under output/)."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", nargs="?", help="a run's yaml; its OUTPUT_DIR holds the weights")
    parser.add_argument("overrides", nargs="*", metavar="KEY VALUE", help="config keys to change")
    parser.add_argument("--json", metavar="FILE", help="also write the numbers as json")
    parser.epilog = """examples:
  graphkd eval
  graphkd eval configs/R50-R18.yaml
  graphkd eval configs/R50-R18.yaml MODEL.WEIGHTS student.pth DATASETS.TEST "('doclaynet_test',)"
"""


def run(args: argparse.Namespace) -> int:
    from graphkd.engine.jobs import eval_job

    eval_job(args.config, args.overrides, args.json)
    return 0
