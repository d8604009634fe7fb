"""The exception type for a user's mistake, and what messages share."""

import os

# What the user types: start_train.sh says its own name here.
COMMAND = os.environ.get("GRAPHKD_COMMAND", "graphkd")
# The way on from a checkpoint; what trains does not know which command it serves.
GO_ON = "train goes on with --resume, demo and compare with the same command"


class UserError(Exception):
    """A mistake the user can correct; the message is one line that says what is wrong and what to
    do.

    The command line prints it without a stack trace and exits with code 2.
    """


def one_line(error: BaseException) -> str:
    """The message of `error` on one line; of the system's errors, file and reason in words.

    A loader's worker process hands an error on with its whole trace as text; the message is at its
    end.
    """
    text = str(error)
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        text = f"{error.filename}: {error.strerror}"
    if "Original Traceback" in text:
        text = text.rpartition("UserError: ")[2]
    return " ".join(text.split()) or type(error).__name__
