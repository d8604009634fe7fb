"""`graphkd compare`: teacher, plain student and several methods over seeds, in one table."""

import argparse

from graphkd.commands import add_data, overrides_of

HELP = "Train the plain student and several methods over seeds and compare scores and cost."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "configs", nargs="+", metavar="CONFIG", help="run yamls that differ in DISTILL.LOSSES alone"
    )
    parser.add_argument("overrides", nargs="*", metavar="KEY VALUE", help="config keys to change")
    add_data(parser)
    parser.add_argument("--methods", metavar="A,B", help="names in configs/methods; A+B stacks two")
    parser.add_argument("--seeds", type=int, default=3, help="how many, from SEED on (default: 3)")
    parser.add_argument("--out", help="folder (default: output/compare)")
    parser.add_argument(
        "--budget",
        choices=("steps", "time"),
        default="steps",
        help="what every student gets the same amount of (default: %(default)s)",
    )
    parser.add_argument(
        "--time-matched",
        action="store_true",
        help="also a plain student that trains as long as the first method",
    )
    parser.add_argument(
        "--processes",
        type=int,
        default=1,
        metavar="N",
        help="runs at a time, each on a GPU of its own or with its share of the cores (default: 1)",
    )
    parser.add_argument(
        "--tune",
        metavar="0.5,1,2,4",
        help="try every method's loss weights times each factor at the first seed, and use the one "
        "that is best on the validation set for all seeds",
    )
    parser.add_argument(
        "--add",
        action="append",
        default=[],
        metavar="FILE",
        help="also show the runs of an earlier compare.json, of another day or machine; may be "
        "given several times",
    )
    parser.add_argument(
        "--no-train", action="store_true", help="make the table of the runs that are finished"
    )
    parser.add_argument("--classes", metavar="A,B", help="a column with the mean AP of these")
    parser.add_argument("--json", metavar="FILE", help="write the numbers here, too")
    parser.epilog = """examples:
  graphkd compare configs/tiny/R18-MNv4s.yaml --methods graphkd,fitnets,logits
  graphkd compare configs/R50-R18.yaml --methods graphkd,graphkd+logits --seeds 5 --time-matched
  graphkd compare configs/R50-R18.yaml --methods graphkd_full,dsig --processes 8    # 8 GPUs
  graphkd compare configs/R50-R18.yaml --methods graphkd_full,dsig --data prima
  graphkd compare configs/R50-R18.yaml --methods graphkd_full,dsig --tune 0.5,1,2,4
  graphkd compare configs/R50-R18.yaml --methods fgd --add monday/compare.json    # one long table
  graphkd compare mine/a.yaml mine/b.yaml --out output/mine SOLVER.MAX_ITER 3000

A comparison that was stopped goes on with the same command; finished runs are not repeated.
OUT/compare.html, compare.md and compare.json hold what is finished so far.
"""


def run(args: argparse.Namespace) -> int:
    from pathlib import Path

    from graphkd.compare.plan import contest_of
    from graphkd.compare.run import compare
    from graphkd.config import project_path
    from graphkd.engine.launch import in_torchrun
    from graphkd.errors import UserError
    from graphkd.lists import names_in, numbers_in
    from graphkd.report.tables import reading_notes, sentences, table

    if in_torchrun():
        # Each process would train every run, all into the same folders.
        raise UserError("start it without torchrun; --processes N trains N runs at a time")
    configs, overrides = split([*args.configs, *args.overrides])
    out = Path(args.out) if args.out else project_path("output/compare")
    args.overrides = overrides
    contest = contest_of(configs, overrides_of(args), methods=names_in(args.methods or ""), out=out)
    ledger = compare(
        contest,
        seeds=args.seeds,
        budget=args.budget,
        time_matched=args.time_matched,
        tune=numbers_in(args.tune or "", option="--tune"),
        add=[Path(file) for file in args.add],
        trains=not args.no_train,
        processes=args.processes,
        chosen=names_in(args.classes or ""),
        json_file=Path(args.json) if args.json else None,
        command=typed(args, configs, overrides),
        say=lambda text: print(text, flush=True),
    )
    rows, metrics = ledger.rows, ledger.metrics
    print(table(rows, metrics, ledger.chosen))
    said = [*sentences(rows, metrics[0]), *reading_notes(rows, metrics[0])]
    for sentence in [*said, *ledger.all_notes]:
        print(sentence)
    print(f"numbers: {out / 'compare.json'}, {out / 'compare.md'}   report: {out / 'compare.html'}")
    return 1 if ledger.failed else 0


def split(words: list[str]) -> tuple[list[str], list[str]]:
    """Separates config files, which come first, from KEY VALUE pairs."""
    from graphkd.config import is_config

    end = next((i for i, word in enumerate(words) if not is_config(word)), None)
    return (words, []) if end is None else (words[:end], words[end:])


def typed(args: argparse.Namespace, configs: list[str], overrides: list[str]) -> str:
    """The command as it could be typed again."""
    import shlex

    words = ["graphkd", "compare", *configs]
    options = ("data", "methods", "seeds", "out", "budget", "processes", "tune", "classes", "json")
    for option in options:
        value = getattr(args, option)
        if value is not None:
            words += [f"--{option}", str(value)]
    for file in args.add:
        words += ["--add", file]
    for option in ("time_matched", "no_train"):
        words += [f"--{option.replace('_', '-')}"] if getattr(args, option) else []
    return shlex.join([*words, *overrides])
