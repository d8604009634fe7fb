"""Lists of names as people type them: A,B."""

import csv

from graphkd.errors import UserError


def names_in(text: str) -> list[str]:
    """The names of a list with commas; a name with a comma of its own stands in double quotes.

    Args:
        text: such as `text, title` or `"Text, running",title`. Empty places are left out.

    Raises:
        UserError: a line break in the list.
    """
    try:
        places = next(csv.reader([text], skipinitialspace=True), [])
    except csv.Error as error:
        raise UserError(f"{text!r} is no list of names: {error}") from error
    return [name.strip() for name in places if name.strip()]
