"""The view of GFL and PicoGFL, on small real ones: losses, what it reads, distilled steps."""

import pytest
import torch
from detectron2.utils.events import EventStorage

from graphkd.errors import UserError
from graphkd.modeling.dense.edges import by_edge, expected_distances
from graphkd.views import view_of
from graphkd.views.dense import EdgeView
from tests.small import page, small_model
from tests.views.test_dense import (
    BATCH,
    REGION_NEEDS,
    distilled_step,
    distiller,
    pair,
    retinanet,
    step,
    two_stage,
    without_running_statistics,
)

SMALL = ("MODEL.GFL.NUM_CLASSES", "5", "MODEL.FPN.OUT_CHANNELS", "32", "MODEL.GFL.NUM_CONVS", "1")
V2 = ("MODEL.GFL.QUALITY", "True")


def gfl(name="gfl_R18", *overrides, seed=0):
    return small_model(name, *SMALL, *overrides, seed=seed)


def pico(*overrides, seed=0):
    return gfl("gfl_pico_MNv4s", *overrides, seed=seed)


@pytest.fixture(scope="module")
def seen():
    """What one step of a GFL v2 said and what the data said."""
    return step(gfl("gfl_R18", *V2).train())


@pytest.mark.parametrize("make", [gfl, pico, lambda: gfl("gfl_R18", *V2)])
def test_losses_are_bit_identical_with_and_without_taps(make):
    plain = make().train()
    with EventStorage(0):
        expected = plain(BATCH)
    tapped = make().train()
    losses, _, _ = step(tapped)
    assert losses.keys() == expected.keys() == {"loss_cls", "loss_box_reg", "loss_dfl"}
    assert all(torch.equal(losses[key], expected[key]) for key in expected)
    state = tapped.state_dict()
    assert all(torch.equal(state[key], value) for key, value in plain.state_dict().items())
    assert not any(module._forward_hooks for module in tapped.modules())


def test_head_maps_distributions_and_quality(seen):
    _, outputs, targets = seen
    dense = outputs.dense
    assert dense.levels == ("p3", "p4", "p5", "p6", "p7")
    assert dense.decode(torch.ones(1, 4), targets.anchors[0][:1]).tolist() == [[-8.0, -8, 8, 8]]
    assert list(outputs.features) == ["p3", "p4", "p5", "p6", "p7"]
    levels = {"p3": 8, "p4": 16, "p5": 32, "p6": 64, "p7": 128}
    assert targets.strides == {**levels, "c3": 8, "c4": 16, "c5": 32}
    parts = zip(
        dense.logits, dense.deltas, dense.distributions, dense.quality, targets.anchors, strict=True
    )
    for logits, deltas, edges, quality, anchors in parts:
        images, classes, height, width = logits.shape
        assert (images, classes) == (2, 5) and anchors.shape == (height * width, 4)
        assert deltas.shape == (2, 4, height, width) and edges.shape == (2, 68, height, width)
        assert quality.shape == (2, 1, height, width)
        assert edges.dtype == quality.dtype == deltas.dtype == torch.float32
        expected = expected_distances(by_edge(edges[1, :, -1, 0]))
        torch.testing.assert_close(deltas[1, :, -1, 0], expected)
        assert logits.mean() < -3  # raw, no probabilities


def test_the_assignment_is_the_one_that_the_step_used():
    model = gfl().train()
    given = []
    handle = model.assigner.register_forward_hook(lambda *call: given.append(call[2]))
    _, _, targets = step(model)
    handle.remove()
    assert targets.assignment is given[0] and len(given) == 1
    owners, valid = targets.assignment.owners, targets.assignment.valid
    total = sum(map(len, targets.anchors))
    assert all(each.shape == (total,) for each in (*owners, *valid))
    assert [len(each) for each in targets.assignment.thresholds] == [5, 0]
    assert owners[0].max() < 5 and (owners[0] >= 0).any() and (owners[1] == -1).all()


def test_padded_cells_are_not_valid():
    batch = [page(3, seed=1), page(2, seed=2, size=(64, 64))]
    _, _, targets = step(gfl().train(), batch)
    first, second = targets.assignment.valid
    assert first.sum() == 16 * 12 + 8 * 6 + 4 * 3 + 2 * 2 + 1
    assert second.sum() == 64 + 16 + 4 + 1 + 1
    assert (targets.assignment.owners[1][~second] == -1).all()


def test_regions_are_sorted_by_the_joint_score():
    student = gfl("gfl_R18", *V2).train()

    # Two cells of p4 that are equally sure of a class; the quality of the second is higher.
    def speak(module, args, output):
        logits, edges, quality = output
        for row, good in ((2, 0.2), (5, 0.9)):
            logits[1].data[0, 3, row, 3] = 50.0
            quality[1].data[0, 0, row, 3] = good
            for edge in range(4):
                edges[1].data[0, edge * 17 + 1, row, 3] = 50.0
        return logits, edges, quality

    handle = student.head.register_forward_hook(speak)
    _, outputs, targets = step(student)
    handle.remove()
    expected = torch.tensor([[32.0, 64, 64, 96], [32, 16, 64, 48]])
    torch.testing.assert_close(outputs.regions.boxes[0][:2], expected)
    torch.testing.assert_close(outputs.regions.boxes[0][-5:], targets.boxes[0])


def test_observing_gives_the_same_outputs():
    model = without_running_statistics(gfl("gfl_R18", *V2).train())
    _, outputs, _ = step(model)
    seen = view_of(model).observe(BATCH, outputs.regions.boxes, REGION_NEEDS | {"dense"})
    torch.testing.assert_close(seen.regions.logits, outputs.regions.logits)
    for part in ("logits", "deltas", "distributions", "quality"):
        for one, other in zip(getattr(seen.dense, part), getattr(outputs.dense, part), strict=True):
            torch.testing.assert_close(one, other)


def test_stages_are_the_maps_of_the_body_and_run_only_where_needed():
    model = without_running_statistics(gfl().train())
    _, outputs, _ = step(model)
    assert {name: each.shape[1] for name, each in outputs.stages.items()} == {
        "c3": 128,
        "c4": 256,
        "c5": 512,
    }
    view = view_of(model)
    seen = view.observe(BATCH, None, frozenset({"stages"}))
    for name, stage in outputs.stages.items():
        torch.testing.assert_close(seen.stages[name], stage)
        assert stage.shape[-1] == -(-96 // view.strides[name]) and view.channels[name] == len(
            stage[0]
        )
    assert not view.observe(BATCH, None, frozenset({"features"})).stages
    assert not any(module._forward_hooks for module in model.modules())


def test_what_the_view_says_of_its_model():
    view, small = view_of(gfl()), view_of(pico("MODEL.GFL.REG_MAX", "12"))
    assert isinstance(view, EdgeView) and isinstance(small, EdgeView)
    assert (view.bins, small.bins, view_of(retinanet()).bins) == (16, 12, None)
    assert small.levels == ("p3", "p4", "p5", "p6") and view.levels[-1] == "p7"
    assert view.box_codes == small.box_codes != view_of(retinanet()).box_codes
    assert all(view.anchors[level] == small.anchors[level] for level in small.levels)
    assert view.anchors["p3"] != view_of(retinanet()).anchors["p3"]
    assert "assignment" in view.targets and "assignment" not in view_of(retinanet()).targets


def test_a_pair_of_gfl_and_its_small_student():
    _, _, context = pair(student=pico("MODEL.GFL.REG_MAX", "12"), teacher=gfl(seed=1))
    assert context.levels == ("p3", "p4", "p5", "p6") and context.bins == (12, 16)
    assert context.same_anchors and context.same_box_codes and context.two_stage is False
    _, _, context = pair(student=pico(), teacher=retinanet(seed=1))
    assert context.bins is None and not context.same_anchors and not context.same_box_codes


METHODS = [
    *("graphkd", "dsig", "fitnets", "pkd", "cwd", "mgd", "fgd", "fine_grained"),
    "region_features",
]


@pytest.mark.parametrize("name", METHODS)
def test_a_distilled_step_teaches_the_student(name):
    parts = pair(student=pico(), teacher=gfl("gfl_R18", *V2, seed=1))
    total, gradient = distilled_step({name: {}}, *parts)
    assert total > 0 and gradient > 0
    total, _ = distilled_step({name: {}}, *parts, batch=[page(0, seed=1)])
    assert total >= 0


HEADS = [
    *({"logits": {}}, {"rank_mimicking": {"OVERLAP": 0.1}}, {"pfi": {}}),
    *({"ld": {}}, {"bckd": {}}, {"ld": {"NORM": "legacy"}, "graphkd": {}, "pkd": {}}),
]


@pytest.mark.parametrize("losses", HEADS, ids=str)
@pytest.mark.parametrize("levels", ["all", "fewer"])
def test_heads_are_compared_cell_by_cell(losses, levels):
    student = gfl("gfl_MNv4s") if levels == "all" else pico()
    total, gradient = distilled_step(losses, *pair(student=student, teacher=gfl(seed=1)))
    assert total > 0 and gradient > 0


@pytest.mark.parametrize("mask", ["gt", "fine_grained", "gi", "main", "vlr"])
def test_masks_of_imitation(mask):
    losses = {"imitation": {"MASK": mask}}
    total, _ = distilled_step(losses, *pair(student=pico(), teacher=gfl(seed=1)))
    assert total > 0 or mask == "gi"


def test_bins_need_not_agree():
    student, teacher = pico("MODEL.GFL.REG_MAX", "12"), gfl(seed=1)
    total, gradient = distilled_step({"ld": {}}, *pair(student=student, teacher=teacher))
    assert total > 0 and gradient > 0


def test_a_teacher_without_distributions_is_refused():
    with pytest.raises(UserError, match="ld") as caught:
        distiller({"ld": {}}, *pair(student=gfl(), teacher=retinanet(seed=1)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["gid", "proposals"])
def test_losses_of_box_heads_say_that_they_need_one(name):
    with pytest.raises(UserError, match=f"test.yaml.*{name}.*two-stage"):
        distiller({name: {}}, *pair(student=pico(), teacher=gfl(seed=1)))


def test_box_deltas_of_other_codes_are_not_compared():
    with pytest.raises(UserError, match=r"test.yaml.*logits.*box deltas"):
        distiller({"logits": {}}, *pair(student=pico(), teacher=retinanet(seed=1)))


@pytest.mark.parametrize("teacher", [retinanet, two_stage], ids=["retinanet", "rcnn"])
def test_other_families_teach_by_their_features(teacher):
    parts = pair(student=pico(), teacher=teacher(seed=1))
    total, gradient = distilled_step({"fitnets": {}, "pkd": {}}, *parts)
    assert total > 0 and gradient > 0


def test_a_step_in_bfloat16_is_finite():
    parts = pair(student=pico(*V2), teacher=gfl(seed=1))
    with torch.autocast("cpu", torch.bfloat16):
        total, gradient = distilled_step({"graphkd": {}, "pkd": {}}, *parts)
        _, outputs, _ = step(parts[0].model)
    assert total > 0 and gradient > 0
    assert outputs.dense.distributions[0].dtype == outputs.dense.deltas[0].dtype == torch.float32
