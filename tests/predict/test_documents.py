import pytest

from graphkd.errors import UserError
from graphkd.predict.documents import parse_ranges


@pytest.mark.parametrize(
    ("text", "pages"),
    [("1-3,7", [1, 2, 3, 7]), ("2", [2]), ("5-", [5, 6, 7, 8, 9]), (" 1 , 9 ", [1, 9])]
    + [("-1", [9]), ("1,-2-", [1, 8, 9]), ("-3--2", [7, 8]), ("7--2", [7, 8]), ("12,-12", [])],
)
def test_ranges_mean_what_they_say(text, pages):
    ranges = parse_ranges(text)
    assert [n for n in range(1, 10) if ranges.has(n, count=9)] == pages


@pytest.mark.parametrize("text", ["", "0", "3-1", "a", "1,,2", "-0", "-2--3", "1-2-3", "1.5"])
def test_others_are_refused_in_one_line(text):
    with pytest.raises(UserError, match="--pages"):
        parse_ranges(text)
