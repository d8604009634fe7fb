#!/usr/bin/env python
"""The Detectron2-style launcher: the flags of Detectron2's own train_net.py, no model code."""

import sys

from detectron2.engine import default_argument_parser

from graphkd.engine.jobs import eval_job, train_job
from graphkd.engine.launch import launch
from graphkd.errors import UserError, one_line


def main() -> int:
    """Reads --config-file --num-gpus --num-machines --resume --eval-only and KEY VALUE pairs."""
    args = default_argument_parser().parse_args()
    if not args.config_file:
        print("train_net.py: name a config with --config-file", file=sys.stderr)
        return 2
    if args.eval_only:
        job, job_args = eval_job, (args.config_file, args.opts, None)
    else:
        job, job_args = train_job, (args.config_file, args.opts, args.resume, False, False)
    try:
        launch(
            job,
            num_gpus=args.num_gpus,
            num_machines=args.num_machines,
            machine_rank=args.machine_rank,
            dist_url=args.dist_url,
            args=job_args,
        )
    except UserError as error:
        print(f"train_net.py: {one_line(error)}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
