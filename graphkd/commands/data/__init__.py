"""`graphkd data`: list, register, check and convert data sets; a module an action."""

import argparse

from graphkd.commands.data import check, convert, listing, register

HELP = "list, register, check, repair and convert data sets"

_EPILOG = """examples:
  graphkd data list
  graphkd data register letters --json letters.json --images scans --text-classes text,title
  graphkd data check letters
  graphkd data check letters.json --images scans --fix letters_clean
  graphkd data convert prima PRImA_folder --out datasets/prima
  graphkd data convert alto my_alto_folder --out datasets/mine --split 70,15,15 --group folder

Data sets lie below $DETECTRON2_DATASETS (default: the folder `datasets`)."""

_ACTIONS = {"list": listing, "register": register, "check": check, "convert": convert}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands and their options."""
    parser.epilog = _EPILOG
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, module in _ACTIONS.items():
        action = actions.add_parser(
            name,
            help=module.HELP,
            description=module.HELP,
            epilog=module.EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(action)


def run(args: argparse.Namespace) -> int:
    """Run one sub-command; returns the exit code."""
    return _ACTIONS[args.action].run(args)
