"""The view of DB and EAST: bit-identical losses, what it reads, what it computes."""

import pytest
import torch

from graphkd.engine.build import loss_context
from graphkd.views import view_of
from tests.maps import map_cfg, map_item, map_model

KINDS = ("DB", "EAST")


def batch_of(kind):
    cfg = map_cfg(kind)
    return [map_item(cfg, 3, seed=1), map_item(cfg, 0, seed=2)]


@pytest.mark.parametrize("kind", KINDS)
def test_losses_are_bit_identical_with_and_without_taps(kind):
    expected = map_model(kind).train()(batch_of(kind))
    losses, _, _ = view_of(map_model(kind).train()).step(batch_of(kind))
    assert losses.keys() == expected.keys()
    assert all(torch.equal(losses[key], expected[key]) for key in expected)


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_gives_features_stages_maps_and_targets(kind):
    view = view_of(map_model(kind).train())
    batch = batch_of(kind)
    _, outputs, targets = view.step(batch)
    maps = {**outputs.features, **outputs.stages}
    assert set(maps) == set(view.channels) == set(view.strides)
    for name, each in maps.items():
        assert each.shape[1] == view.channels[name]
        assert each.shape[-1] == 160 // view.strides[name]
    assert set(outputs.maps) == {"text", "threshold" if kind == "DB" else "geometry"}
    assert targets.maps["text"].shape == targets.maps["mask"].shape == (2, 1, 128, 160)
    assert targets.maps["text"][0].sum() > 0 and targets.maps["text"][1].sum() == 0
    assert [len(each) for each in targets.boxes] == [3, 0]
    first = batch[0]["polygons"][0]
    expected = [*first.min(0), *first.max(0)]
    torch.testing.assert_close(targets.boxes[0][0], torch.tensor(expected))
    assert [len(each) for each in targets.polygons] == [3, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_observe_runs_only_what_is_needed(kind):
    model = map_model(kind).eval()
    view, batch = view_of(model), batch_of(kind)
    calls = []
    for name in ("neck", "head"):
        part = getattr(model, name)
        part.register_forward_hook(lambda m, i, o, name=name: calls.append(name))
    with torch.no_grad():
        seen = view.observe(batch, None, frozenset({"stages"}))
        assert not calls and set(seen.stages) == {"c2", "c3", "c4", "c5"} and not seen.features
        seen = view.observe(batch, None, frozenset({"features"}))
        assert calls == ["neck"] and not seen.maps and not seen.stages
        seen = view.observe(batch, None, frozenset({"maps"}))
    assert calls == ["neck", "neck", "head"] and not seen.features
    assert "threshold" not in seen.maps


def test_a_pair_shares_every_level_stage_and_the_fused_map():
    student, other = view_of(map_model("DB")), map_model("DB", "MODEL.MAPS.BODY", "resnet18")
    teacher = type("Teacher", (), {"view": view_of(other), "classes": ("text",)})()
    context = loss_context(student, teacher, ("text",), None)
    assert context.levels == ("p2", "p3", "p4", "p5") and context.width() == (24, 24)
    assert context.channels["c5"] == (288, 512) and context.channels["fused"] == (96, 96)
    assert context.strides["fused"] == context.strides["c2"] == (4, 4)
    assert context.two_stage is None and context.bins is None
