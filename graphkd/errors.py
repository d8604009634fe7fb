"""The exception for mistakes of the user, and text that messages share."""

import os

# The command that the user typed; start_train.sh sets it to its own name.
COMMAND = os.environ.get("GRAPHKD_COMMAND", "graphkd")
# How to resume. The training code does not know which command has called it, so both are named.
GO_ON = "train goes on with --resume, demo and compare with the same command"


class UserError(Exception):
    """A mistake that the user can correct. The message is one line: what is wrong, and what to do.

    The command line prints it without a traceback and exits with code 2.
    """


def one_line(error: BaseException) -> str:
    """The message of `error` on one line. For errors of the system, this is the file and the
    reason.

    An error from a worker process of a data loader contains the whole traceback as text, with the
    message at its end.
    """
    text = str(error)
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        text = f"{error.filename}: {error.strerror}"
    if "Original Traceback" in text:
        text = text.rpartition("UserError: ")[2]
    return " ".join(text.split()) or type(error).__name__
