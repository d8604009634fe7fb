"""The command line `graphkd`: finds the commands, checks that their packages are installed, and
prints a user's mistake in one line.
"""

import argparse
import importlib
import os
import pkgutil
import re
import sys

# OpenMP threads that spin for long stall each other whenever another process wants a core; this is
# read when torch loads.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")

import graphkd.commands
from graphkd import __version__
from graphkd.errors import COMMAND, UserError, one_line
from graphkd.packages import broken_detectron2, require_light, require_training

EPILOG = """examples:
  graphkd demo                                    pages, teacher, plain and distilled student
  graphkd train configs/R50-R18.yaml --with-teacher
  graphkd eval                                    the newest run under output/
  graphkd COMMAND --help                          options and examples of one command
"""


class _Parser(argparse.ArgumentParser):
    """A parser, or one of its sub-parsers, whose examples start with what the user typed."""

    def format_help(self) -> str:
        return as_typed(super().format_help())


def as_typed(text: str) -> str:
    """`graphkd` in examples and in backticks becomes the command that the user typed."""
    return re.sub(r"(^  |`)graphkd (?=\w)", rf"\g<1>{COMMAND} ", text, flags=re.MULTILINE)


def build_parser(command: str = "") -> argparse.ArgumentParser:
    """The parser with one sub-parser per module of `graphkd.commands`.

    Args:
        command: the only one to import, so that a command starts faster; all of them if there is no
            such command.
    """
    parser = _Parser(
        prog=COMMAND,
        description="Distil small document-layout detectors from big ones (Detectron2).",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"graphkd {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    modules = [info.name for info in pkgutil.iter_modules(graphkd.commands.__path__)]
    named = [name for name in modules if name.replace("_", "-") == command]
    for name in named or modules:
        module = importlib.import_module(f"{graphkd.commands.__name__}.{name}")
        sub = commands.add_parser(
            name.replace("_", "-"),
            help=module.HELP,
            description=module.HELP,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(sub)
        sub.set_defaults(run=module.run, needs_training=getattr(module, "NEEDS_TRAINING", True))
    return parser


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Parses; KEY VALUE overrides, and the inputs of `predict`, may stand among the options."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = build_parser(*arguments[:1])
    args, rest = parser.parse_known_args(arguments)
    end = rest.index("--") if "--" in rest else len(rest)
    unknown = [word for word in rest[:end] if word.startswith("-") and not _is_number(word)]
    rest = rest[:end] + rest[end + 1 :]
    more = getattr(args, "more", "overrides")  # the argument that takes what is left over
    if rest and (unknown or not hasattr(args, more)):
        parser.error(
            f"unrecognized arguments: {' '.join(unknown or rest)} "
            f"(see {COMMAND} {args.command} --help)"
        )
    if rest:
        setattr(args, more, [*getattr(args, more), *rest])
    return args


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns its exit code (0 fine, 1 the check failed, 2 a user's mistake)."""
    args = parse(arguments)
    try:
        require_light()
        if args.needs_training:
            require_training()
        return args.run(args)
    except UserError as error:
        message = as_typed(one_line(error))
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (head, less) went away; what is left unread is not an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ModuleNotFoundError as error:
        if (error.name or "graphkd").startswith("graphkd"):
            raise
        message = f"the package {error.name} is missing; install it and try again"
    except OSError as error:
        message = one_line(error)
    except Exception as error:
        message = broken_detectron2(error)
        if message is None:
            raise
    print(f"{COMMAND} {args.command}: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
