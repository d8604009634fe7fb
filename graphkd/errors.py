"""The one exception type for a user's mistake; nothing about internal errors."""


class UserError(Exception):
    """A mistake the user can correct; the message is one line that says what is wrong and what to
    do.

    The command line prints it without a stack trace and exits with code 2.
    """
