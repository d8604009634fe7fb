"""Tables and sentences say what the numbers say, gains and losses alike."""

import pytest

from graphkd.compare.rows import PLAIN, TEACHER, Run, compare_runs
from graphkd.report.tables import (
    DASH,
    cells,
    difference_text,
    format_table,
    gain_sentences,
    headings,
    markdown,
    reading_notes,
    run_cells,
    sentences,
    signed,
    table,
    weight_search,
)
from graphkd.tasks.base import Metric
from tests.report import sample
from tests.report.sample import METRICS
from tests.report.test_compare import ABOUT, make_run, some_rows

AP = METRICS[0]


def rows_of(*gains, seeds=3):
    runs = [make_run(PLAIN, seed, 30.0) for seed in range(seeds)]
    runs += [make_run("m", seed, 30.0 + gain) for seed, gain in enumerate(gains)]
    return compare_runs(runs, METRICS)


def test_every_heading_has_its_cell():
    for chosen in ((), ("text", "figure")):
        assert {len(cells(row, METRICS, chosen)) for row in some_rows()} == {
            len(headings(METRICS, chosen))
        }
    assert "AP of text, figure" in headings(METRICS, ("text", "figure"))


def test_a_gain_a_loss_and_doubt_are_said_plainly():
    (gain,) = sentences(rows_of(1.0, 2.0, 3.0), AP)
    assert gain.startswith("m: 32.0 AP, +2.0 against the plain student (95 % interval +1.0 to +3.0")
    assert "no difference" not in gain
    (loss,) = sentences(rows_of(-1.0, -2.0, -3.0), AP)
    assert "-2.0 against" in loss
    (doubt,) = sentences(rows_of(-1.0, 0.0, 3.0), AP)
    assert "may be no difference at all" in doubt


def test_few_seeds_get_no_interval_and_a_warning():
    rows = rows_of(1.0, 2.0, seeds=2)
    assert "2 seeds: too few for an interval" in sentences(rows, AP)[0]
    assert difference_text(rows[-1], AP) == "+1.5"
    assert "2 seeds" in reading_notes(rows, AP)[1]
    assert len(reading_notes(rows_of(*[1.0] * 5, seeds=5), AP)) == 1


def test_a_teacher_that_learnt_nothing_gets_no_share_but_a_word():
    def rows(ap):
        return compare_runs([make_run(TEACHER, None, ap), make_run("m", 1, 3.0)], METRICS)

    column = headings(METRICS).index("% of teacher")
    assert [cells(row, METRICS)[column] for row in rows(0.002)] == [DASH, DASH]
    assert [cells(row, METRICS)[column] for row in rows(2.0)] == ["100", "150"]
    assert "teacher reaches only 0.0 AP" in reading_notes(rows(0.002), AP)[1]
    assert len(reading_notes(rows(2.0), AP)) == 1


def test_nothing_has_no_sign():
    assert [signed(value, AP) for value in (-0.04, 0.0, 0.04, 0.06, -1.0)] == [
        "0.0",
        "0.0",
        "0.0",
        "+0.1",
        "-1.0",
    ]


def test_a_missing_pair_is_told():
    runs = [make_run(PLAIN, 1, 30.0), make_run("m", 1, 31.0), make_run("m", 2, 35.0)]
    assert difference_text(compare_runs(runs, METRICS)[-1], AP) == "+1.0 (1 pair)"


def test_the_best_method_comes_first_and_the_plain_one_is_no_method():
    runs = [make_run(PLAIN, 1, 30.0), make_run("worse", 1, 20.0), make_run("better", 1, 40.0)]
    assert [text.split(":")[0] for text in sentences(compare_runs(runs, METRICS), AP)] == [
        "better",
        "worse",
    ]


def test_markdown_holds_table_classes_notes_and_facts():
    text = markdown(rows=some_rows(), metrics=METRICS, chosen=(), about=ABOUT, notes=["A\n note."])
    lines = text.splitlines()
    assert lines[0] == "# Comparison of distillation methods"
    assert [line for line in lines if line.startswith("| graphkd ") and "37.0 ± 1.5" in line]
    assert [line.split()[1] for line in lines if line.startswith("| text")] == ["text"]
    assert "A note." in lines and f"- command: {ABOUT['command']}" in lines
    assert "\n\n\n" not in text


def test_nothing_finished_is_said():
    text = markdown(rows=[], metrics=METRICS, chosen=(), about={}, notes=[])
    assert "No method has finished." in text
    assert "Step cost" in table([], METRICS)


def test_where_lower_is_better_a_gain_is_a_lower_value():
    error = Metric("CER", higher_is_better=False, digits=2, unit="%", about="wrong characters")
    values = {PLAIN: 5.0, "m": 4.0, "n": 5.5}
    runs = [Run(k, s, {"CER": v}, {}, 9, 9, 9.0, "w") for k, v in values.items() for s in (1, 2, 3)]
    rows = compare_runs(runs, (error,))
    first, second = sentences(rows, error)
    assert first.startswith("m: 4.00 CER (%), a gain of +1.00 against the plain student")
    assert second.startswith("n: 5.50 CER (%), a gain of -0.50")
    names = headings((error,))
    assert names[:4] == ["Model", "CER (%)", "n", "Gain over plain"] and "% of teacher" not in names
    assert len(cells(rows[1], (error,))) == len(names)
    assert "wrong characters; lower is better" in reading_notes(rows, error)[0]


def with_ap(**aps):
    return [{**row, "AP": aps.get(row["role"], row["AP"])} for row in sample.rows()]


def test_table_holds_every_row_rounded():
    lines = format_table(sample.rows(), METRICS).splitlines()
    assert len(lines) == 5
    assert lines[-1].split() == "distilled graphkd 37.8 60.0 30.0 9.9 251".split()


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_what_is_not_known_is_a_dash(missing):
    row = {"role": "student", "AP": missing, "params": missing, "seconds": missing}
    assert run_cells(row, METRICS) == ["–"] * 5
    assert format_table([row], METRICS).splitlines()[-1].count("–") == 6
    assert run_cells({"AP": 0.0}, METRICS)[0] == "0.0"


def test_no_rows_are_the_headings():
    assert "AP50" in format_table([], METRICS)


def test_a_gain_with_its_share_of_the_teacher():
    (sentence,) = gain_sentences(sample.rows(), AP)
    assert "37.8 AP, 6.6 AP more than the plain student (31.2)." in sentence
    assert "68 % of the teacher's 55.7 AP, with 24 % of its parameters." in sentence


def test_a_loss_is_said_plainly():
    (sentence,) = gain_sentences(with_ap(distilled=29.04), AP)
    assert "only 29.0 AP, 2.2 AP less than the plain student (31.2)" in sentence
    assert "did not help" in sentence and "more than" not in sentence


def test_no_difference_is_no_gain():
    (sentence,) = gain_sentences(with_ap(distilled=31.26), AP)
    assert "no gain" in sentence


@pytest.mark.parametrize("role", ["student", "distilled"])
def test_nothing_is_claimed_without_both_students(role):
    assert gain_sentences(with_ap(**{role: None}), AP) == []
    assert gain_sentences([row for row in sample.rows() if row["role"] != role], AP) == []


def test_a_teacher_without_ap_or_below_1_is_left_out():
    for ap in (None, 0.0, 0.002, 0.99, float("nan")):
        (sentence,) = gain_sentences(with_ap(teacher=ap), AP)
        assert "teacher" not in sentence


def test_several_methods_are_named():
    rows = [*sample.rows(), {**sample.rows()[2], "method": "dsig", "AP": 30.0}]
    first, second = gain_sentences(rows, AP)
    assert "(graphkd)" in first and "(dsig)" in second and "less" in second


def test_a_lower_error_is_a_gain():
    error = Metric("CER", higher_is_better=False, digits=2)
    values = {"teacher": 1.0, "student": 3.5, "distilled": 3.1}
    rows = [{"role": role, "params": 5, "CER": value} for role, value in values.items()]
    (sentence,) = gain_sentences(rows, error)
    assert sentence == (
        "The distilled student reaches 3.10 CER, 0.40 CER less than the plain student (3.50)."
    )
    rows[2]["CER"] = 4.0
    assert (
        "0.50 CER more than the plain student (3.50): distillation did not help"
        in (gain_sentences(rows, error)[0])
    )


def test_a_search_is_a_row_a_method_with_its_choice_marked():
    tuning = {
        "factors": [0.5, 1.0, 4.0],
        "data": "own_val",
        "seed": 3,
        "scores": {"a": {"0.5": 1.0, "1": 2.04, "4": None}, "b": {"0.5": None, "1": None}},
        "chosen": {"a": 1.0},
        "stopped": {"a": {"4": "step 3"}},
    }
    names, rows, text = weight_search(tuning, AP)
    assert names == ["Method", "weights x 0.5", "weights x 1", "weights x 4"]
    assert rows == [["a", "1.0", "2.0 (chosen)", "diverged"], ["b", DASH, DASH, DASH]]
    assert text.startswith("AP on the validation set own_val") and "at seed 3" in text
