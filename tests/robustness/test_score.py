import pytest

from graphkd.robustness.score import Summary, cell_name, summarise, table

CELLS = {
    "clean": 40.0,
    "rotation 1": 30.0,
    "rotation 3": 10.0,
    "speckle 1": 44.0,
    "speckle 3": 20.0,
}


def test_a_hand_worked_summary():
    # 1 - 30/40, 1 - 10/40, 1 - 44/40, 1 - 20/40 = 0.25, 0.75, -0.1, 0.5; their mean is 0.35.
    found = summarise(CELLS)
    assert (found.clean, found.mean_ap) == (40.0, 26.0)
    assert found.mean_loss == pytest.approx(35.0)


def test_what_could_not_be_measured_is_left_out():
    assert summarise({**CELLS, "warping 1": None}) == summarise(CELLS)
    assert summarise({"clean": 40.0}) == Summary(40.0, None, None)
    assert summarise({}) == Summary(None, None, None)
    # Without a clean AP there is nothing to lose.
    assert summarise({"clean": 0.0, "rotation 1": 1.0}) == Summary(0.0, 1.0, None)


def test_the_table():
    other = {"clean": None, "rotation 1": 2.04}
    text = table(
        {"big": CELLS, "small": other},
        kinds=["rotation", "speckle"],
        strengths=[1, 3],
        form="github",
    )
    rows = [[field.strip() for field in line.strip("|").split("|")] for line in text.splitlines()]
    assert rows[0] == ["AP, damage at strength 1 / 3", "big", "small"]
    assert rows[2] == ["none (clean)", "40.0", "–"]
    assert rows[3] == ["rotation", "30.0 / 10.0", "2.0 / –"]
    assert rows[4] == ["speckle", "44.0 / 20.0", "– / –"]
    assert rows[5] == ["mean AP over damages", "26.0", "2.0"]
    assert rows[6] == ["mean loss (%)", "35.0", "–"]


def test_cell_names():
    assert cell_name("ink-holdout", 2) == "ink-holdout 2"
