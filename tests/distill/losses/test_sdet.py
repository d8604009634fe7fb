"""SDET, DSN and deep supervision: entropy, ground truth, heads and positions."""

import pytest
import torch

from graphkd.distill.losses.build import build_losses
from graphkd.distill.losses.heads import HEADS, START_BIAS, text_head
from graphkd.distill.losses.maps import entropy
from graphkd.errors import UserError
from tests.distill.losses.map_pages import context, gradients, outputs, targets, text_loss
from tests.distill.losses.map_pages import with_gradient as leaf


def build(name, facts=None, **options):
    torch.manual_seed(0)
    return build_losses({name: options}, facts or context(), source="run.yaml")[name].module


@pytest.mark.parametrize("kind", HEADS)
def test_heads_start_as_background_and_deconv_grows(kind):
    head = text_head(kind, 8)
    found = head(torch.randn(2, 8, 6, 10))
    assert found.shape == ((2, 1, 24, 40) if kind == "deconv" else (2, 1, 6, 10))
    assert head[-1].bias.item() == START_BIAS and found.mean() < -1


def test_the_default_head_is_the_best_of_each_detector():
    assert build("sdet").kind == "plain"
    assert build("sdet", context(stride=4)).kind == "deconv"


@pytest.mark.parametrize(
    ("position", "tap", "name"),
    [
        ("P0", "levels", "p5"),
        ("P1", "levels", "p4"),
        ("P3", "levels", "p2"),
        ("P3", "stages", "c2"),
    ],
)
def test_positions_are_maps_from_coarse_to_fine(position, tap, name):
    loss = build("sdet", POSITION=position, TAP=tap)
    student = leaf(outputs(1))
    sum(loss(student, None, targets()).values()).backward()
    part = "features" if tap == "levels" else "stages"
    assert loss.names == (name,) and set(gradients(student)) == {(part, name)}


def test_the_term_by_hand():
    loss = build("sdet").eval()
    student, truth = outputs(1), targets()
    found = loss(student, None, truth)["entropy"]
    wanted = entropy(student.maps["text"])
    own = entropy(loss.logits(student, "p2"))
    kept = truth.maps["mask"] > 0
    torch.testing.assert_close(found, (own - wanted)[kept].square().mean())
    inside = build("sdet", REGION="text", DISTANCE="l1").eval()
    kept = kept & (truth.maps["text"] > 0)
    expected = (own - wanted)[kept].abs().mean()
    torch.testing.assert_close(inside(student, None, truth)["entropy"], expected)


def test_no_gradient_into_the_models_own_map_unless_asked():
    for detach in (True, False):
        student = leaf(outputs(1))
        build("sdet", DETACH=detach)(student, None, targets())["entropy"].backward()
        assert (("maps", "text") in gradients(student)) != detach


def test_the_ramp_follows_the_progress():
    loss = build("sdet").eval()
    whole = loss(outputs(1), None, targets(progress=0.1))["entropy"]
    for progress, share in ((0.0, 0.0), (0.05, 0.5), (1.0, 1.0)):
        term = loss(outputs(1), None, targets(progress=progress))["entropy"]
        torch.testing.assert_close(term, share * whole)
    always = build("sdet", RAMP=0).eval()
    torch.testing.assert_close(always(outputs(1), None, targets(progress=0))["entropy"], whole)


def test_sdet_with_ground_truth_alone_is_dsn():
    options = {"HEAD": "refine", "POSITION": "P2"}
    sdet, dsn = build("sdet", ENTROPY=0, AUX_GT=0.4, **options), build("dsn", **options)
    assert list(sdet.state_dict()) == list(dsn.state_dict())
    students = [leaf(outputs(1)) for _ in range(2)]
    one = sdet(students[0], None, targets())
    other = dsn(students[1], None, targets())
    assert set(one) == {"truth"}
    torch.testing.assert_close(one["truth"], 0.4 * other["truth"])
    assert sdet.log["auc"] == dsn.log["auc"]
    one["truth"].backward()
    (0.4 * other["truth"]).backward()
    for own, same in zip(sdet.parameters(), dsn.parameters(), strict=True):
        torch.testing.assert_close(own.grad, same.grad)
    grads = [gradients(each)[("features", "p3")] for each in students]
    torch.testing.assert_close(*grads)


def test_dsn_takes_the_detectors_own_loss():
    loss, student, truth = build("dsn").eval(), outputs(1), targets()
    expected = text_loss(loss.logits(student, "p2"), truth.maps["text"], truth.maps["mask"])
    torch.testing.assert_close(loss(student, None, truth)["truth"], expected)


def test_entropy_alone_cannot_tell_text_from_its_negative():
    """The weakness the documentation names: the negative of the map costs the same."""
    loss, student = build("sdet").eval(), outputs(1)
    once = loss(student, None, targets())["entropy"]
    area = loss.log["auc"]
    with torch.no_grad():
        loss.heads["p2"][-1].weight.mul_(-1)
        loss.heads["p2"][-1].bias.mul_(-1)
    torch.testing.assert_close(loss(student, None, targets())["entropy"], once)
    torch.testing.assert_close(loss.log["auc"], 1 - area)


def test_deep_supervision_weighs_levels():
    loss, student, truth = build("deep_supervision").eval(), outputs(1), targets()
    assert loss.weights == {"p4": 0.2, "p3": 0.3, "p2": 0.4}
    expected = sum(w * loss.truth(loss.logits(student, n), truth) for n, w in loss.weights.items())
    torch.testing.assert_close(loss(student, None, truth)["truth"], expected)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"POSITION": "P4"}, "no position P4; p5, p4, p3, p2 are P0, P1, P2, P3"),
        ({"HEAD": "B"}, "HEAD must be one of plain, deconv, refine"),
        ({"ENTROPY": 0}, "must not both be 0"),
        ({"RAMP": 2}, "RAMP must lie in 0..1"),
        ({"TAP": "fused"}, "TAP must be one of levels, stages"),
    ],
)
def test_wrong_options_are_refused(options, complaint):
    with pytest.raises(UserError, match=complaint):
        build("sdet", **options)
