"""Reads lists separated by commas: names such as A,B and numbers such as 0.5,1,2."""

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


def numbers_in(text: str, *, option: str) -> list[float]:
    """The numbers of a list with commas.

    Args:
        text: such as `0.5,1,2`; empty for no numbers.
        option: what it was given for, for the message.

    Raises:
        UserError: something else stands in the list.
    """
    try:
        return [float(word) for word in text.split(",")] if text else []
    except ValueError as error:
        raise UserError(f"{option} {text}: give numbers with commas, such as 0.5,1,2") from error
