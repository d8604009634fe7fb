"""Scores of read lines against cases worked out by hand and a plain table of edits."""

import random
import unicodedata

import pytest

from graphkd.errors import UserError
from graphkd.evaluation.reading import confusion, count_line, interval, score_lines, totals


def table(a, b):
    """The edit distance by the plain table."""
    row = list(range(len(b) + 1))
    for i, one in enumerate(a, start=1):
        last, row[0] = row[0], i
        for j, other in enumerate(b, start=1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (one != other))
    return row[-1]


def items(*pairs, documents=None):
    lines = [{"image_id": i, "text": truth} for i, (truth, _) in enumerate(pairs)]
    for line, document in zip(lines, documents or (), strict=False):
        line["document"] = document
    return score_lines(lines, [(text, 0.5) for _, text in pairs])


def test_metrics_of_a_set_by_hand():
    found = totals(items(("ab c", "ab c"), ("Die Bar", "die bar"), ("x y", "xy"), ("", "zz")))
    assert found["exact"] == 25 and found["exact_no_spaces"] == 50
    assert found["exact_folded"] == 50 and found["exact_alnum"] == 75
    # 0 + 2 + 1 + 2 edits of 4 + 7 + 3 + 0 characters
    assert found["CER"] == pytest.approx(100 * 5 / 14)
    assert found["CER_folded"] == pytest.approx(100 * 3 / 14)
    # 0 + 2 + 2 (x replaced, y deleted) + 1 of 2 + 2 + 2 + 0 words
    assert found["WER"] == pytest.approx(100 * 5 / 6)
    assert found["NED"] == pytest.approx(100 * (1 - (0 + 2 / 7 + 1 / 3 + 1) / 4))


def test_two_empty_texts_are_equal_and_nothing_to_divide_by_is_none():
    found = totals(items(("", "")))
    assert found["exact"] == 100 and found["NED"] == 100
    assert found["CER"] is None and found["WER"] is None
    assert set(totals([]).values()) == {None}


def test_normal_forms_and_the_long_s():
    counts = count_line(unicodedata.normalize("NFD", "né"), "né")
    assert counts["right"] == 1 and counts["characters"] == 2
    counts = count_line("ſaint", "saint")
    assert counts["right"] == 0 and counts["right_folded"] == 1 and counts["edits"] == 1


def test_only_letters_and_digits_for_the_published_word_task():
    assert count_line("JOE'S-24!", "joes 24")["right_alnum"] == 1
    assert count_line("JOE'S", "JOES")["right_folded"] == 0


def test_edits_are_those_of_a_plain_table():
    rng = random.Random(0)
    for _ in range(200):
        a, b = ("".join(rng.choices("abc é", k=rng.randrange(12))) for _ in range(2))
        counts = count_line(a, b)
        assert counts["edits"] == table(a, b)
        assert counts["word_edits"] == table(a.split(), b.split())


def test_counts_of_parts_add_up():
    every = items(("abc", "abd"), ("a", "b"), ("long line", "long"), ("x", ""))
    whole = totals(every)
    assert totals(iter(every[2:] + every[:2])) == whole
    mean = sum(item["CER"] for item in every) / 4
    assert whole["CER"] != pytest.approx(mean)  # lines are not averaged


def test_confused_characters_are_counted():
    found = confusion(items(("abba", "acca"), ("b", ""), ("", "b"), ("b", "c")))
    assert found == [("b", "c", 3), ("", "b", 1), ("b", "", 1)]


def test_lines_of_one_document_are_resampled_together():
    pairs = [("abcd", "abcd")] * 30 + [("abcd", "")] * 30
    documents = [str(i // 10) for i in range(60)]
    exact = interval(items(*pairs, documents=documents), "exact")
    single = interval(items(*pairs), "exact")
    assert exact.mean == single.mean == 50
    assert exact.low < single.low < 50 < single.high < exact.high
    error = interval(items(("a" * 10, ""), ("b", "b"), ("", "x")), "CER")
    assert error.mean == pytest.approx(100 * 11 / 11)
    assert interval(items(("a", "a")), "exact").low is None
    with pytest.raises(UserError, match="no values"):
        interval([], "exact")


def test_rows_of_items_hold_what_reports_show():
    (item,) = items(("abcd", "abxd"), documents=["b"])
    assert item["id"] == 0 and item["document"] == "b" and item["exact"] == 0 and item["CER"] == 25
    assert (item["truth"], item["text"], item["score"]) == ("abcd", "abxd", 0.5)
