"""Groups of channels that are cut together, and the multiplications of a plan."""

import pytest
import torch

from graphkd.errors import UserError
from graphkd.modeling.network import build_network, parameters
from graphkd.pruning.groups import Costs, cut, groups_of, reader_keys
from graphkd.pruning.importance import importance, kept_channels
from tests.crop_models import reader_cfg, reader_model

# The plan that the published pruned ResNet18 has.
PLAN = {
    **{f"stem.{i}": width for i, width in enumerate((6, 8, 22))},
    **{f"stages.{i}": width for i, width in enumerate((28, 56, 94))},
    **{f"inner.{i}": width for i, width in enumerate((6, 6, 13, 13, 26, 26, 88, 82))},
}


def resnet(*overrides):
    cfg = reader_cfg("CRNN", "MODEL.READER.BODY", "resnet18", "MODEL.READER.HIDDEN", "64")
    cfg.merge_from_list(list(overrides))
    return cfg


def smaller(cfg, model, widths):
    """The model with these widths, built from its config, with the weights that stay."""
    groups = groups_of(model)
    cfg = cfg.clone()
    for key, numbers in reader_keys(model, groups, widths).items():
        cfg.MODEL.READER[key] = numbers
    kept = kept_channels(model.state_dict(), groups, widths, by="l1")
    pruned = build_network(cfg)
    pruned.load_state_dict(cut(model.state_dict(), groups, kept))
    return cfg, pruned.eval()


def test_the_groups_of_a_resnet_are_the_known_ones():
    model = build_network(resnet())
    groups = {group.name: group for group in groups_of(model)}
    assert list(groups) == list(PLAN)
    sizes = [group.size for group in groups.values()]
    assert sizes == [32, 32, 64, 64, 128, 256, 64, 64, 128, 128, 256, 256, 512, 512]
    # A stage: both second convolutions and the projection, tied by the shortcuts.
    assert groups["stages.1"].producers == (
        "body.blocks.2.second.0",
        "body.blocks.3.second.0",
        "body.blocks.2.project.0",
    )
    read = {name for name, dim in groups["stages.1"].tensors.items() if dim == 1}
    assert read == {
        "body.blocks.3.first.0.weight",
        "body.blocks.4.first.0.weight",
        "body.blocks.4.project.0.weight",
    }


def test_the_known_plan_has_the_published_numbers():
    # 3,937 characters, a space, and the doubled one of the published head.
    names = [chr(0x4E00 + i) for i in range(3937)] + [" ", "<space 2>"]
    cfg = resnet()
    cfg.MODEL.READER.CHARACTERS = names[:3938]
    model = build_network(cfg)
    costs = Costs(model, groups_of(model))
    assert costs({}) / 1e9 == pytest.approx(5.378, abs=5e-4)
    assert costs(PLAN) / 1e9 == pytest.approx(0.5347, abs=5e-5)
    for key, numbers in reader_keys(model, groups_of(model), PLAN).items():
        cfg.MODEL.READER[key] = numbers
    assert cfg.MODEL.READER.STAGES == [28, 56, 94, 512]
    pruned = build_network(cfg)
    norms = sum(buffer.numel() for name, buffer in pruned.named_buffers() if "running_" in name)
    assert parameters(pruned) + norms == 2_215_209
    assert Costs(pruned, ())({}) == costs(PLAN)


@pytest.mark.parametrize("kind", ["CRNN", "pyramid", "blur", "ResNet", "RARE"])
def test_channels_that_are_zero_are_cut_without_a_change(kind):
    """Channels whose normalisation gives 0 say nothing, so the smaller model is the same."""
    cfg, model = reader_model(kind)
    groups = groups_of(model)
    assert groups
    state, widths = model.state_dict(), {}
    for group in groups:
        widths[group.name] = group.size - max(1, group.size // 3)
        kept = kept_channels(state, [group], {group.name: widths[group.name]}, by="l1")
        silent = torch.ones(group.size, dtype=torch.bool)
        silent[kept[group.name]] = False
        for name in group.tensors:
            if name.endswith((".1.weight", ".1.bias")):  # of batch norms
                state[name][silent] = 0
    model.load_state_dict(state)
    _, pruned = smaller(cfg, model, widths)
    assert parameters(pruned) < parameters(model)
    images, columns = torch.rand(2, 3, 32, 96) * 255, torch.tensor([96, 70])
    with torch.no_grad():
        wanted, given = (each.frames(images, columns)[0] for each in (model, pruned))
    assert torch.allclose(wanted, given, atol=1e-4)


def test_what_a_neck_reads_is_kept():
    names = {group.name for group in groups_of(reader_model("pyramid")[1])}
    assert names == {f"inner.{i}" for i in range(11)}
    pyramid = build_network(resnet("MODEL.READER.NECK", "C"))
    names = {group.name for group in groups_of(pyramid)}
    assert "stages.0" in names and "stages.1" not in names
    # Blocks after the last tap of pyramid A are not built.
    dead = build_network(resnet("MODEL.READER.NECK", "A"))
    groups = groups_of(dead)
    assert "inner.7" not in {group.name for group in groups}
    assert reader_keys(dead, groups, {"inner.0": 3})["INNER"] == [3, 64, 128, 128, 256, 256, 512, 1]


@pytest.mark.parametrize("keys", [("ATTENTION", "ca"), ("ACON", "True")])
def test_layers_whose_width_follows_their_input_are_refused(keys):
    model = build_network(reader_cfg("CRNN", f"MODEL.READER.{keys[0]}", keys[1]))
    with pytest.raises(UserError, match="prune supports bodies without"):
        groups_of(model)


def test_costs_are_those_of_the_smaller_model():
    for kind in ("CRNN", "ResNet"):
        cfg, model = reader_model(kind)
        groups = groups_of(model)
        widths = {group.name: max(1, group.size // 2) for group in groups}
        costs = Costs(model, groups)
        _, pruned = smaller(cfg, model, widths)
        assert costs(widths) == Costs(pruned, ())({}) < costs({})


def test_importance_by_hand():
    class Toy(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.body = reader_model("ResNet")[1].body

    model = Toy()
    group = groups_of(model)[0]
    weight = torch.zeros(4, 3, 3, 3)
    weight[:, 0, 0, 0] = torch.tensor([1.0, 2.0, 3.0, 10.0])
    state = {**model.state_dict(), f"{group.producers[0]}.weight": weight}
    assert importance(state, group, by="l1").tolist() == pytest.approx([0.25, 0.5, 0.75, 2.5])
    # Distances to the others: 12, 10, 10, 24; the second is replaced most easily.
    fpgm = importance(state, group, by="fpgm")
    assert fpgm.tolist() == pytest.approx([12 / 14, 10 / 14, 10 / 14, 24 / 14])
    assert kept_channels(state, [group], {group.name: 2}, by="fpgm")[group.name].tolist() == [0, 3]
    weight[0, 1, 0, 0], weight[0, 2, 0, 0] = 2.0, 2.0  # |x|: 5, 2, 3, 10; norms: 3, 2, 3, 10
    assert importance(state, group, by="l1").tolist() == pytest.approx([1.0, 0.4, 0.6, 2.0])
    assert importance(state, group, by="l2").tolist() == pytest.approx(
        [3 / 4.5, 2 / 4.5, 3 / 4.5, 10 / 4.5]
    )
