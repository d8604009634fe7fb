import pytest

from graphkd.errors import UserError
from graphkd.predict.detector import choose_thresholds, parse_by_class

CLASSES = ("text", "title", "table")


def test_the_nearest_word_wins():
    stored = {"title": 0.7}
    choose = lambda **options: choose_thresholds(CLASSES, stored=stored, **options)  # noqa: E731
    assert choose() == {"text": 0.5, "title": 0.7, "table": 0.5}
    assert choose(score=0.2) == {"text": 0.2, "title": 0.2, "table": 0.2}
    assert choose(by_class={"title": 0.1}) == {"text": 0.5, "title": 0.1, "table": 0.5}
    assert choose(score=0.0, by_class={"table": 1.0}) == {"text": 0, "title": 0, "table": 1}


def test_an_unknown_class_gets_the_known_names():
    with pytest.raises(UserError, match="no class named 'titel'; the model knows text, title"):
        choose_thresholds(CLASSES, stored={}, by_class={"titel": 0.3})


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_scores_are_parts_of_one(value):
    with pytest.raises(UserError, match="0..1"):
        choose_thresholds(CLASSES, stored={}, score=value)
    with pytest.raises(UserError, match="0..1"):
        choose_thresholds(CLASSES, stored={}, by_class={"text": value})


def test_classes_are_parsed_even_with_signs_in_their_names():
    assert parse_by_class(["title=0.3, table=0.6", "a=b=1"]) == {
        "title": 0.3,
        "table": 0.6,
        "a=b": 1.0,
    }
    assert parse_by_class(["fig,ure=0.05,a,b,c=0.5,table=0.6"]) == {
        "fig,ure": 0.05,
        "a,b,c": 0.5,
        "table": 0.6,
    }
    for wrong in ("title", "=0.3", "title=high", "", "a=0.1,", "a=0.1,b"):
        with pytest.raises(UserError, match="CLASS=SCORE"):
            parse_by_class([wrong])
