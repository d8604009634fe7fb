"""Plans from sensitivities and at random: the target is met, tolerant groups give more."""

import numpy as np
import pytest

from graphkd.errors import UserError
from graphkd.modeling.network import build_network
from graphkd.pruning.groups import Costs, groups_of
from graphkd.pruning.plans import RATIOS, random_plan, tolerant_plan, widths_at
from tests.crop_models import reader_cfg


@pytest.fixture(scope="module")
def resnet():
    model = build_network(reader_cfg("CRNN", "MODEL.READER.BODY", "resnet18"))
    groups = groups_of(model)
    return groups, Costs(model, groups)


def losses(groups, power):
    """Loss ratio ** power of every group; `power` by name."""
    return {
        group.name: {str(ratio): ratio ** power(group.name) for ratio in RATIOS} for group in groups
    }


@pytest.mark.parametrize("target", [0.1, 0.3, 0.7])
def test_a_plan_is_just_below_its_target(resnet, target):
    groups, costs = resnet
    plan = tolerant_plan(groups, losses(groups, lambda name: 2), costs, target=target)
    assert set(plan) == {group.name for group in groups}
    assert 0.99 * target <= costs(plan) / costs({}) <= target
    rng = np.random.default_rng(0)
    plans = [random_plan(groups, costs, target=target, rng=rng) for _ in range(3)]
    assert all(0.99 * target <= costs(each) / costs({}) <= target for each in plans)
    assert plans[0] != plans[1] != plans[2]


def test_a_sensitive_group_keeps_more(resnet):
    groups, costs = resnet
    # The losses of inner.3 rise at once, those of the others late.
    measured = losses(groups, lambda name: 0.3 if name == "inner.3" else 3)
    plan = tolerant_plan(groups, measured, costs, target=0.3)
    shares = {group.name: plan[group.name] / group.size for group in groups}
    assert shares["inner.3"] > 0.95 > max(s for n, s in shares.items() if n != "inner.3")


def test_gains_count_as_no_loss_and_curves_do_not_fall(resnet):
    groups, costs = resnet
    measured = losses(groups, lambda name: 2)
    measured["stem.0"] = dict.fromkeys(map(str, RATIOS), -0.2)
    measured["stem.1"] = {str(ratio): 0.5 if ratio == 0.1 else 0.0 for ratio in RATIOS}
    plan = tolerant_plan(groups, measured, costs, target=0.3)
    assert plan["stem.0"] < 32 and plan["stem.1"] > 20


def test_a_target_out_of_reach_is_told(resnet):
    groups, costs = resnet
    with pytest.raises(UserError, match="--target 0.001 cannot be reached"):
        tolerant_plan(groups, losses(groups, lambda name: 1), costs, target=0.001)


def test_no_group_loses_its_last_channel(resnet):
    groups, _ = resnet
    assert set(widths_at(groups, {group.name: 0.999 for group in groups}).values()) == {1}
