"""Known class lists keep their text classes; other names are read word by word."""

import pytest

from graphkd.data.layouts import DOCLAYNET_CLASSES, DOCLAYNET_TEXT, KNOWN, text_names


def test_a_known_list_is_not_guessed():
    assert text_names(DOCLAYNET_CLASSES) == (DOCLAYNET_TEXT, "as in doclaynet")


@pytest.mark.parametrize(
    "name, text",
    [
        ("Section-header", True),
        ("TableCaption", True),
        ("figure_caption", True),
        ("MainZone", True),
        ("TextRegion", True),
        ("Page-footer", True),
        ("list", True),
        ("DropCapitalZone", False),
        ("table", False),
        ("ImageRegion", False),
        ("OtherZone", False),
        ("Klasse 7", False),
        ("", False),
    ],
)
def test_the_last_telling_word_decides(name, text):
    assert text_names([name, "zzz"]) == ((name,) if text else (), "guessed from the names")


def test_the_words_agree_with_the_known_lists():
    names = {name: name in layout.text_classes for layout in KNOWN for name in layout.classes}
    guessed = {name: bool(text_names([name, "zzz"])[0]) for name in names}
    assert {name for name in names if guessed[name] != names[name]} == set()
