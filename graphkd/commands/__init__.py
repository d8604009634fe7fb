"""One module or folder a command, each with HELP, add_arguments and run; and the arguments that the
commands on runs share.
"""

import argparse


def add_run(parser: argparse.ArgumentParser, *, help: str, **config) -> None:
    """Adds CONFIG, KEY VALUE pairs and `--data`.

    Args:
        parser: of one command.
        help: what CONFIG is.
        config: further options of the CONFIG argument.
    """
    parser.add_argument("config", help=help, **config)
    parser.add_argument("overrides", nargs="*", metavar="KEY VALUE", help="config keys to change")
    add_data(parser)


def add_data(parser: argparse.ArgumentParser) -> None:
    """Adds `--data`."""
    parser.add_argument(
        "--data",
        metavar="NAME",
        help="data set of student and teacher: pages, publaynet, doclaynet, prima, hj, segmonto, "
        "or your own NAME_train and NAME_val",
    )


def overrides_of(args: argparse.Namespace) -> list[str]:
    """The KEY VALUE pairs, with the one that `--data` stands for."""
    return [*(["DATASETS.NAME", args.data] if args.data else []), *args.overrides]
