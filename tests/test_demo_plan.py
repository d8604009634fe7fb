"""What the demo chooses for a budget, from times measured on two kinds of processor."""

import json

import pytest

from graphkd.config import load_cfg
from graphkd.demo_plan import (
    LEVELS,
    DemoPlan,
    Pace,
    StepTimes,
    describe,
    every_page,
    plan_demo,
    read_plan,
    save_plan,
    student_overrides,
    teacher_overrides,
    total,
)
from graphkd.errors import UserError
from graphkd.synthesis import SPLITS

# Two cores with bfloat16 hardware, and two cores without.
FAST = Pace(StepTimes(0.16, 0.13, 0.18), StepTimes(0.41, 0.26, 0.39), 0.019)
SLOW = Pace(StepTimes(0.39, 0.19, 0.28), StepTimes(1.70, 0.65, 1.15), 0.060)
FULL_DEMO = LEVELS[-3]


@pytest.mark.parametrize("pace", [FAST, SLOW])
@pytest.mark.parametrize("minutes", [10, 15, 30, 60, 300])
def test_a_plan_keeps_its_budget_and_the_next_level_would_not(pace, minutes):
    plan = plan_demo(pace, minutes=minutes, spent=20)
    assert plan.seconds <= 60 * minutes
    above = LEVELS[LEVELS.index(plan.level) + 1 :]
    for level in above:
        assert 20 + total(level, pace, missing=every_page()) > 60 * minutes


def test_ten_minutes_are_enough_on_both_kinds_of_machine():
    assert plan_demo(SLOW, minutes=10, spent=40).level in LEVELS[:-3]
    fast = plan_demo(FAST, minutes=10, spent=20).level
    assert LEVELS.index(fast) > LEVELS.index(plan_demo(SLOW, minutes=10, spent=40).level)


def test_more_minutes_never_choose_less():
    for pace in (FAST, SLOW):
        chosen = [LEVELS.index(plan_demo(pace, minutes=m).level) for m in range(10, 600, 10)]
        assert chosen == sorted(chosen) and chosen[-1] == len(LEVELS) - 1


def test_too_few_minutes_are_refused_with_the_least_that_make_sense():
    with pytest.raises(UserError) as caught:
        plan_demo(SLOW, minutes=3, spent=30)
    least = int(str(caught.value).rsplit(" ", 1)[1])
    assert plan_demo(SLOW, minutes=least, spent=30).level == LEVELS[0]
    with pytest.raises(UserError):
        plan_demo(SLOW, minutes=least - 1, spent=30)


def test_levels_rise_and_give_the_teacher_its_share():
    for level, above in zip(LEVELS, LEVELS[1:], strict=False):
        assert total(above, SLOW, missing=every_page()) > total(level, SLOW, missing=every_page())
    for level in LEVELS[:-2]:
        assert level.teacher_steps >= 1.5 * level.student_steps
    for level in filter(lambda each: each.scores, LEVELS):
        teacher, plain, distilled = level.scores
        assert teacher > plain + 5 and teacher > distilled > plain
        assert level.pages in SPLITS


def test_times_between_the_measured_batches_grow_with_their_pixels():
    assert SLOW.at(160, 2) == SLOW.small
    assert SLOW.at(320, 4).teacher == pytest.approx(1.7)
    share = (4 * 224**2 - 2 * 160**2) / (4 * 320**2 - 2 * 160**2)
    assert SLOW.at(224, 4).teacher == pytest.approx(0.39 + 1.31 * share)
    odd = Pace(SLOW.full, SLOW.small, 0.1)
    assert odd.at(320, 4) == odd.small


def test_pages_that_are_there_cost_nothing():
    some = plan_demo(SLOW, minutes=300, missing={"pages_mini": 0, "pages_tiny": 0})
    all_ = plan_demo(SLOW, minutes=300)
    assert all_.seconds - some.seconds == pytest.approx(1550 * SLOW.page)


def test_the_sentences_name_the_choice_and_a_longer_run():
    plan = plan_demo(SLOW, minutes=10)
    first, chosen, *longer = describe(plan, SLOW, minutes=10)
    assert "teacher 1.70 s" in first and plan.level.text() in chosen and "10 minutes" in chosen
    assert [line.split(":")[0].split()[0] for line in longer] == ["--minutes"] * 2
    minutes = [int(line.split(":")[0].split()[1]) for line in longer]
    for number, line in zip(minutes, longer, strict=True):
        assert plan_demo(SLOW, minutes=number, spent=30).level.text() in line
    assert describe(DemoPlan(LEVELS[-1], 9.0), SLOW, minutes=999)[2:] == []


def test_the_full_demo_is_what_the_yamls_say(root):
    for path, overrides in (
        ("configs/tiny/R18-MNv4s.yaml", student_overrides),
        ("configs/teachers/rcnn_tiny_R18_pages.yaml", teacher_overrides),
    ):
        cfg = load_cfg(root / path)
        anchors = cfg.MODEL.ANCHOR_GENERATOR.SIZES
        assert load_cfg(root / path, overrides(FULL_DEMO, anchors)).dump() == cfg.dump()


@pytest.mark.parametrize("level", LEVELS, ids=str)
def test_every_level_is_a_valid_config(root, level):
    cfg = load_cfg(root / "configs/tiny/R18-MNv4s.yaml")
    anchors = cfg.MODEL.ANCHOR_GENERATOR.SIZES
    changed = load_cfg(root / "configs/tiny/R18-MNv4s.yaml", student_overrides(level, anchors))
    assert changed.INPUT.MAX_SIZE_TEST == changed.INPUT.MIN_SIZE_TEST == level.size
    assert changed.MODEL.ANCHOR_GENERATOR.SIZES[0] == [round(16 * level.size / 320)]
    assert changed.DATASETS.VAL == (f"{level.pages}_val",)


def test_a_stored_plan_is_read_back(tmp_path):
    plan = plan_demo(SLOW, minutes=12)
    save_plan(tmp_path / "plan.json", plan, SLOW, minutes=12)
    values = json.loads((tmp_path / "plan.json").read_text())
    assert read_plan(values) == (plan, 12)
    assert values["pace"]["full"]["teacher"] == 1.7
