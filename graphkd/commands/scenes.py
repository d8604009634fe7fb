"""The command `graphkd scenes`: makes generated scenes with text, or a contact sheet of some."""

import argparse

from graphkd.commands.pages import add_actions, draw_sheet, make_sets

HELP = "make generated scenes with words and their polygons, or a contact sheet of them"

EPILOG = """examples:
  graphkd scenes make                             all splits, under $DETECTRON2_DATASETS
  graphkd scenes make --pages 50 --seed 9 --out my_scenes
  graphkd scenes sheet --out scenes.png --pages 12
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares `make` and `sheet`."""
    parser.epilog = EPILOG
    add_actions(parser, "scenes", long_side=640)


def run(args: argparse.Namespace) -> int:
    """Runs the chosen action; returns the exit code."""
    from graphkd.synthesis import SCENES, make_scene

    if args.action == "sheet":
        return draw_sheet(args, make_scene, classes=None)
    own = {"scan": None, **({"long_side": 640} if args.out else {})}
    return make_sets(args, {"scenes": list(SCENES)}, own=own)
