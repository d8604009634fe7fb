"""The view of line readers: bit-identical losses, what it reads, what it computes."""

import pytest
import torch

from graphkd.engine.build import loss_context
from graphkd.views import view_of
from tests.reader import LETTERS, SMALL, line_batch, reader

KINDS = ("CRNN", "RARE", "STAR")
NECK_C = ("MODEL.READER.NECK", "C")


def model_of(kind, *options):
    return reader(kind, *SMALL, *NECK_C, *options)


@pytest.mark.parametrize("kind", KINDS)
def test_losses_are_bit_identical_with_and_without_taps(kind):
    expected = model_of(kind).train()(line_batch())
    losses, _, _ = view_of(model_of(kind).train()).step(line_batch())
    assert losses.keys() == expected.keys()
    assert all(torch.equal(losses[key], expected[key]) for key in expected)


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_gives_features_logits_and_texts(kind):
    view = view_of(model_of(kind).train())
    batch = line_batch(("one", "seven"))
    _, outputs, targets = view.step(batch)
    assert set(outputs.features) == set(view.channels) == set(view.strides)
    assert view.levels == ("p3", "p4", "p5") and view.strides["neck"] == 4
    for name, each in outputs.features.items():
        assert each.shape[1] == view.channels[name]
        assert each.shape[-1] == 128 // view.strides[name]
    assert targets.texts == ("one", "seven") and targets.boxes == ()
    assert view.num_classes == len(LETTERS)
    said = outputs.steps if kind == "RARE" else outputs.frames
    assert view.provides == {"features", "steps" if kind == "RARE" else "frames"}
    assert (outputs.frames is None) == (kind == "RARE")
    if kind == "RARE":
        assert said.lengths.tolist() == [4, 6]
        assert said.logits.shape == (2, 6, targets.num_classes)
        assert targets.num_classes == len(LETTERS) + 2
    else:
        assert said.lengths.tolist() == [-(-item["line_width"] // 4) for item in batch]
        assert said.logits.shape == (2, 32, targets.num_classes)
        assert targets.num_classes == len(LETTERS) + 1
    assert said.logits.dtype == torch.float32


@pytest.mark.parametrize("kind", KINDS)
def test_observe_runs_only_what_is_needed(kind):
    model = model_of(kind).eval()
    view, batch = view_of(model), line_batch(("one", "seven"))
    calls = []
    for name in ("neck", "encoder", "decoder"):
        part = getattr(model, name)
        part.register_forward_hook(lambda m, i, o, name=name: calls.append(name))
    with torch.no_grad():
        assert not view.observe(batch, None, frozenset()).features and not calls
        seen = view.observe(batch, None, frozenset({"features"}))
        assert calls == ["neck"] and seen.frames is None and seen.steps is None
        logits = "steps" if kind == "RARE" else "frames"
        seen = view.observe(batch, None, frozenset({logits}))
    assert calls == ["neck", "neck", "encoder", "decoder"] and not seen.features
    said = getattr(seen, logits)
    if kind == "RARE":
        assert said.lengths.tolist() == [4, 6] and said.logits.shape[1] == 6
    else:
        expected = model.frames(*model.pixels(batch))
        assert torch.equal(said.logits, expected[0]) and torch.equal(said.lengths, expected[1])


def test_readers_share_their_neck_and_the_levels_of_two_pyramids():
    def context(*options):
        other = reader("CRNN", "MODEL.READER.BODY", "mobilenet_v3_large", *options)
        teacher = type("Teacher", (), {"view": view_of(other), "classes": tuple(LETTERS)})()
        return loss_context(view_of(model_of("CRNN")), teacher, tuple(LETTERS), None)

    both = context(*NECK_C)
    assert both.levels == ("p3", "p4", "p5")
    assert both.channels["neck"] == (288, 960) and both.channels["p5"] == (48, 160)
    plain = context()
    assert plain.levels == () and set(plain.channels) == {"neck"}
    assert plain.strides["neck"] == (4, 4) and plain.two_stage is None
