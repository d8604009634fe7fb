"""Reads lists of names separated by commas, such as A,B."""

import csv

from graphkd.errors import UserError


def names_in(text: str) -> list[str]:
    """Splits a list at its commas. A name that contains a comma must be in double quotes.

    Args:
        text: such as `text, title` or `"Text, running",title`. Empty names are ignored.

    Raises:
        UserError: the list contains a line break.
    """
    try:
        places = next(csv.reader([text], skipinitialspace=True), [])
    except csv.Error as error:
        raise UserError(f"{text!r} is no list of names: {error}") from error
    return [name.strip() for name in places if name.strip()]
