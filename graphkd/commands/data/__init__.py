"""`graphkd data`: list, register, check, convert and harvest data sets."""

import argparse

from graphkd.commands.data import check, convert, crops, harvest, label, names

HELP = "list, register, check, repair and convert data sets, harvest PDFs, cut lines"

_EPILOG = """examples:
  graphkd data list
  graphkd data register letters --json letters.json --images scans --text-classes text,title
  graphkd data check letters
  graphkd data check letters.json --images scans --fix letters_clean
  graphkd data convert prima PRImA_folder --out datasets/prima
  graphkd data convert alto my_alto_folder --out datasets/mine --split 70,15,15 --group folder
  graphkd data harvest my_pdfs --labels lines --out datasets/mine
  graphkd data cut datasets/mine --out datasets/mine_lines
  graphkd data label rapidocr-rec crops/ -o crops/labels.tsv

Data sets lie below $DETECTRON2_DATASETS (default: the folder `datasets`)."""

_ACTIONS = {
    "list": (names.add_list_arguments, names.show_list, names.LIST_HELP, None),
    "register": (names.add_register_arguments, names.register, names.REGISTER_HELP, None),
    "check": (check.add_arguments, check.run, check.HELP, check.EPILOG),
    "convert": (convert.add_arguments, convert.run, convert.HELP, convert.EPILOG),
    "harvest": (harvest.add_arguments, harvest.run, harvest.HELP, harvest.EPILOG),
    "cut": (crops.add_cut_arguments, crops.cut, crops.CUT_HELP, crops.CUT_EPILOG),
    "charset": (
        crops.add_charset_arguments,
        crops.charset,
        crops.CHARSET_HELP,
        crops.CHARSET_EPILOG,
    ),
    "label": (label.add_arguments, label.run, label.HELP, label.EPILOG),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands and their options."""
    parser.epilog = _EPILOG
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, (add, _, text, epilog) in _ACTIONS.items():
        action = actions.add_parser(
            name,
            help=text,
            description=text,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add(action)


def run(args: argparse.Namespace) -> int:
    """Run one sub-command; returns the exit code."""
    return _ACTIONS[args.action][1](args)
