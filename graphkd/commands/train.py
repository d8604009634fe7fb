"""`graphkd train`: trains the model of a config, distilled or plain."""

import argparse

from graphkd.commands import add_run, overrides_of

HELP = "Train the model of a config: a teacher, a plain student, or a distilled student."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run(parser, help="a run's yaml or its name, for example configs/R50-R18.yaml or R50-R18")
    parser.add_argument("--resume", action="store_true", help="continue from the newest checkpoint")
    parser.add_argument(
        "--plain", action="store_true", help="train the student without its teacher"
    )
    parser.add_argument(
        "--with-teacher", action="store_true", help="train the teacher first if it has no weights"
    )
    parser.add_argument("--num-gpus", type=int, default=1, help="GPUs of this machine (default: 1)")
    parser.add_argument("--json", metavar="FILE", help="also write the result as json")
    parser.epilog = """examples:
  graphkd train configs/tiny/R18-MNv4s.yaml --with-teacher
  graphkd train configs/R50-R18.yaml --data prima --with-teacher    the same pair on PRImA
  graphkd train configs/R50-R18.yaml SOLVER.IMS_PER_BATCH 4 SOLVER.BASE_LR 0.01
  graphkd train configs/R50-R18.yaml --plain      the undistilled student, same schedule
  graphkd train configs/teachers/rcnn_R50_pages.yaml --num-gpus 8
"""


def run(args: argparse.Namespace) -> int:
    from graphkd.engine.jobs import train_job
    from graphkd.engine.launch import launch

    job = (args.config, overrides_of(args), args.resume, args.plain, args.with_teacher, args.json)
    launch(train_job, num_gpus=args.num_gpus, args=job)
    return 0
