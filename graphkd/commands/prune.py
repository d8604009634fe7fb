"""`graphkd prune`: a trained text recogniser with fewer channels in its body."""

import argparse
from pathlib import Path

HELP = "remove channels of a trained text recogniser, and write config and weights to fine-tune"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.epilog = """examples:
  graphkd prune output/text/R18 -o R18-p90.yaml                     a tenth of the multiplications
  graphkd prune output/text/R18 --by candidates -o R18-c90.yaml     the best of 50 random plans
  graphkd train R18-p90.yaml --plain                                fine-tune
  graphkd compare R18-p90.yaml --methods ctc_mean                   or with the unpruned teacher

l1, l2 and fpgm measure how much each group of channels matters, into NAME.sensitivity.json beside
the yaml; a stopped measurement goes on where it was.
"""
    add = parser.add_argument
    add("folder", type=Path, metavar="RUN", help="folder of a trained run")
    add("-o", "--out", type=Path, required=True, metavar="NEW.yaml", help="the config to write")
    add(
        "--target",
        type=float,
        default=0.1,
        help="share of the body's multiplications that stays (default 0.1)",
    )
    add("--by", default="l1", help="l1, l2, fpgm or candidates (default l1)")
    add("--lines", type=int, default=200, help="validation lines a plan is scored on (default 200)")
    add("--plans", type=int, default=50, help="number of random plans of candidates (default 50)")
    add("--seed", type=int, default=0, help="of the lines and the random plans (default 0)")


def run(args: argparse.Namespace) -> int:
    """Prunes, writes and prints what is left."""
    from graphkd.pruning.search import PruneOptions, prune

    found = prune(
        PruneOptions(
            run=args.folder,
            out=args.out,
            target=args.target,
            by=args.by,
            lines=args.lines,
            plans=args.plans,
            seed=args.seed,
        )
    )
    print("channels: " + ", ".join(f"{name} {width}" for name, width in found.widths.items()))
    before, after = found.costs
    print(f"multiplications: {before / 1e9:.3f} G -> {after / 1e9:.3f} G ({after / before:.1%})")
    print("parameters: {:,} -> {:,}".format(*found.values))
    print("NED on validation lines: {:.1f} -> {:.1f}, before fine-tuning".format(*found.scores))
    print(f"{found.yaml}, {found.weights}")
    return 0
