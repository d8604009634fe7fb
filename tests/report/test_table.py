"""The table and the sentence say what the numbers say, gains and losses alike."""

import pytest

from graphkd.report.table import cells, format_table, gain_sentences
from tests.report import sample


def with_ap(**aps):
    return [{**row, "AP": aps.get(row["role"], row["AP"])} for row in sample.rows()]


def test_table_holds_every_row_rounded():
    lines = format_table(sample.rows()).splitlines()
    assert len(lines) == 5
    assert lines[-1].split() == "distilled graphkd 9.9 37.8 60.0 30.0 251".split()


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_what_is_not_known_is_a_dash(missing):
    row = {"role": "student", "AP": missing, "params": missing, "seconds": missing}
    assert list(cells(row).values()) == ["student", *["–"] * 6]
    assert format_table([row]).splitlines()[-1].count("–") == 6
    assert cells({"AP": 0.0})["AP"] == "0.0"


def test_no_rows_are_the_headings():
    assert "AP50" in format_table([])


def test_a_gain_with_its_share_of_the_teacher():
    (sentence,) = gain_sentences(sample.rows())
    assert "37.8 AP, 6.6 AP more than the plain student (31.2)." in sentence
    assert "68 % of the teacher's 55.7 AP, with 24 % of its parameters." in sentence


def test_a_loss_is_said_plainly():
    (sentence,) = gain_sentences(with_ap(distilled=29.04))
    assert "only 29.0 AP, 2.2 AP less than the plain student (31.2)" in sentence
    assert "did not help" in sentence and "more than" not in sentence


def test_no_difference_is_no_gain():
    (sentence,) = gain_sentences(with_ap(distilled=31.26))
    assert "no gain" in sentence


@pytest.mark.parametrize("role", ["student", "distilled"])
def test_nothing_is_claimed_without_both_students(role):
    assert gain_sentences(with_ap(**{role: None})) == []
    assert gain_sentences([row for row in sample.rows() if row["role"] != role]) == []


def test_a_teacher_without_ap_or_below_1_is_left_out():
    for ap in (None, 0.0, 0.002, 0.99, float("nan")):
        (sentence,) = gain_sentences(with_ap(teacher=ap))
        assert "teacher" not in sentence


def test_several_methods_are_named():
    rows = [*sample.rows(), {**sample.rows()[2], "method": "dsig", "AP": 30.0}]
    first, second = gain_sentences(rows)
    assert "(graphkd)" in first and "(dsig)" in second and "less" in second
