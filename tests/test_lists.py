"""Lists of names as people type them."""

import pytest

from graphkd.errors import UserError
from graphkd.lists import names_in, numbers_in


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("text,title", ["text", "title"]),
        (" text , list item,,", ["text", "list item"]),
        ('"Text, running",title', ["Text, running", "title"]),
        ('title, "Text, running"', ["title", "Text, running"]),
        ("l'incipit", ["l'incipit"]),
        ('12" map', ['12" map']),
        ("", []),
        (" , ", []),
    ],
)
def test_names(text, names):
    assert names_in(text) == names


def test_a_list_of_two_lines_is_refused():
    with pytest.raises(UserError, match="no list of names"):
        names_in("text\ntitle")


def test_numbers():
    assert numbers_in("0.5, 1,2e1", option="--x") == [0.5, 1.0, 20.0]
    assert numbers_in("", option="--x") == []
    with pytest.raises(UserError, match="--x 1;2: give numbers with commas"):
        numbers_in("1;2", option="--x")
