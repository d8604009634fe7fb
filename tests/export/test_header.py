import pytest

from graphkd.header import read_header
from tests.export.sample import header


def test_text_and_back():
    said = header(0.05, "int8")
    assert read_header(said.text()) == said
    assert '"format": 1' in said.text()


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", '{"format": 2}', '{"format": 1}'])
def test_other_text_is_refused(text):
    with pytest.raises(ValueError):
        read_header(text)
