"""Tests of graphkd/distill/losses/graphkd.py and of what it logs."""

import logging
from pathlib import Path

import pytest
import torch
from fvcore.common.config import CfgNode
from hypothesis import given, settings
from hypothesis import strategies as st

from graphkd.distill.graph.edges import cosine_affinity, covariance_factor, squared_mahalanobis
from graphkd.distill.graph.nodes import BACKGROUND, NONTEXT, TEXT
from graphkd.distill.losses.build import build_losses
from graphkd.distill.losses.dsig import DSIG, IMAGES_A_DEVICE
from graphkd.distill.losses.graphkd import GraphKD
from graphkd.errors import UserError
from tests.distill.losses.graph_pages import (
    CLASSES,
    Page,
    batch,
    context,
    make_page,
    run,
    same,
)

METHODS = Path(__file__).resolve().parents[3] / "configs" / "methods"
VARIANTS = [
    {},
    {"merge": False},
    {"node_type": "none"},
    {"node_type": "gt_class"},
    {"node_type": "teacher_class"},
    {"threshold": "otsu"},
    {"threshold": "fixed", "text_is_high": False},
    {"distance": "euclidean"},
    {"affinity": "mahalanobis"},
    {"weight_by": "mahalanobis"},
    {"affinity": "mahalanobis", "weight_by": "mahalanobis", "distance": "euclidean"},
    {"neighbours": 2},
    {"max_background": 0},
]
EDGE_PAGES = {
    "no region": [dict(texts=0, figures=0, background=0, easy=0)],
    "no node": [dict(texts=0, figures=0, background=0)],
    "one node": [dict(texts=1, figures=0, background=0)],
    "two nodes": [dict(texts=1, figures=1, background=0)],
    "all text": [dict(figures=0, background=0)],
    "all non-text": [dict(texts=0)],
    "no background": [dict(background=0)],
    "background only": [dict(texts=0, figures=0, background=4)],
    "an empty page among others": [{}, dict(texts=0, figures=0, background=0, easy=0), {}],
}


def build(**options):
    options = {"node_type": "gt_class", **options}
    torch.manual_seed(0)
    return GraphKD(context(), **options)


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_zero_when_student_equals_teacher(options):
    page = make_page(0)
    loss = GraphKD(context(), **options)
    for _ in range(2):
        terms, grad = run(loss, [page.change(student=page.teacher)] * 2)
        assert all(term == 0 for term in terms.values())
        assert not grad.any()
    terms, grad = run(loss, [page])
    assert all(term > 0 for name, term in terms.items() if name in ("nontext", "edges"))
    assert grad.any() and grad.isfinite().all()


@pytest.mark.parametrize("name", EDGE_PAGES)
@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_unusual_pages_give_finite_terms_and_gradients(options, name):
    pages = [make_page(index, **numbers) for index, numbers in enumerate(EDGE_PAGES[name])]
    loss = GraphKD(context(), **options)
    terms, grad = run(loss, pages)
    for term in terms.values():
        assert term.isfinite() and term >= 0 and term.dtype == torch.float32 and term.dim() == 0
    assert grad.isfinite().all()
    assert all(value.isfinite() for value in loss.log.values())


def test_one_node_has_a_node_term_only():
    terms, _ = run(build(), [make_page(0, texts=1, figures=0, background=0)])
    assert terms["text"] > 0 and terms["nontext"] == 0
    assert terms["edges"] < 1e-12


def test_node_terms_by_hand():
    page = make_page(0, texts=2, figures=1, background=1, easy=1)
    offset = torch.tensor([1.0, 3.0, 2.0, 4.0, 9.0])[:, None, None, None]
    terms, _ = run(build(merge=False), [page.change(student=page.teacher + offset)])
    # two texts, one other node: 0.5 * 1/2 * (1 + 9) / 2
    assert terms["text"].item() == pytest.approx(1.25)
    assert terms["nontext"].item() == pytest.approx(2.0)
    # one background region is hard and one easy: both count
    assert terms["background"].item() == pytest.approx(0.5 * (16 + 81) / 2)


def test_text_keeps_its_weight_on_a_page_of_text_alone():
    page = make_page(0, texts=6, figures=0, background=0)
    terms, _ = run(build(merge=False), [page.change(student=page.teacher + 2)])
    assert terms["text"].item() == pytest.approx(0.5 * 4)


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_order_of_regions_and_images_does_not_matter(options):
    pages = [make_page(1, texts=14), make_page(2)]
    shuffled = [page.take(torch.randperm(len(page.boxes))) for page in reversed(pages)]
    first, second = GraphKD(context(), **options), GraphKD(context(), **options)
    assert same(run(first, pages)[0], run(second, shuffled)[0])


@given(st.integers(0, 10_000))
@settings(max_examples=10, deadline=None)
def test_any_order_of_regions_gives_the_same_terms(seed):
    page = make_page(seed, texts=12)
    order = torch.randperm(len(page.boxes), generator=torch.Generator().manual_seed(seed))
    assert same(run(build(), [page])[0], run(build(), [page.take(order)])[0])


def with_copies(page, row, times, *, seed=0):
    """The page with near copies of a region: 1 px of jitter, features of a cosine of 0.997."""
    draw = torch.Generator().manual_seed(seed)
    more = page.take([row] * times)
    spread = 0.0775 * page.teacher[row].std()

    def near(features):
        return features + spread * torch.randn(features.shape, generator=draw)

    more = more.change(
        boxes=more.boxes + 2 * torch.rand(more.boxes.shape, generator=draw) - 1,
        teacher=near(more.teacher),
        student=near(more.student),
    )
    return Page(**{k: torch.cat([v, getattr(more, k)]) for k, v in vars(page).items()})


def outlier_page(row):
    """A page of unlike regions on which the student is much worse at region `row`."""
    page = make_page(3, texts=12, figures=5, background=0)
    draw = torch.Generator().manual_seed(0)
    teacher = torch.randn(page.teacher.shape, generator=draw)
    student = teacher + 0.3 * torch.randn(teacher.shape, generator=draw)
    student[row] += 3
    return page.change(student=student, teacher=teacher)


def changes(loss, page, row, times):
    """Relative change of every term that copies of a region make."""
    before, after = run(loss, [page])[0], run(loss, [with_copies(page, row, times)])[0]
    return {
        name: abs(after[name] / before[name] - 1).item() for name in ("text", "nontext", "edges")
    }


def test_the_near_copies_are_what_is_said():
    page = with_copies(outlier_page(0), 0, 32)
    cosines = cosine_affinity(page.teacher.flatten(1))
    assert cosines[0, -32:].mean().item() == pytest.approx(0.997, abs=1e-3)


@pytest.mark.parametrize("times", [1, 10, 32])
@pytest.mark.parametrize("row", [0, 7, 13])
@pytest.mark.parametrize("options", [{}, {"distance": "euclidean"}], ids=str)
def test_near_copies_of_a_region_move_no_term(options, row, times):
    """Of a text region or another one (the 13th), whatever their number."""
    found = changes(build(**options), outlier_page(row), row, times)
    assert max(found.values()) < 0.05
    apart = changes(build(**options, merge=False), outlier_page(row), row, 32)
    assert max(apart.values()) > 0.3


@pytest.mark.parametrize("row", [0, 9])
def test_near_copies_move_no_term_where_covariance_tells_the_types(row):
    page = make_page(3, texts=8, figures=6, background=0)
    loss = GraphKD(context())
    for seed in range(4, 24):
        run(loss, [make_page(seed), page])
    assert max(changes(loss.eval(), page, row, 10).values()) < 0.05


def test_32_near_copies_of_a_text_leave_at_most_2_nodes():
    loss = build()
    for texts, figures in ((1, 0), (6, 0), (6, 5)):
        page = make_page(3, texts=texts, figures=figures, background=0)
        run(loss, [page])
        before = loss.log["text"]
        run(loss, [with_copies(page, 0, 32)])
        assert loss.log["nodes_before"] == texts + figures + 32
        assert loss.log["text"] <= before + 1


def test_other_regions_that_look_alike_stay_apart_unless_text():
    """Five figures of equal features at other places are five nodes."""
    page = make_page(3, texts=0, figures=5, background=0)
    corner = 100.0 * torch.arange(len(page.boxes))[:, None]
    loss = build()
    run(loss, [page.change(boxes=corner + page.boxes % 50, teacher=torch.ones_like(page.teacher))])
    assert loss.log["nontext"] == 5


@pytest.mark.parametrize("background", [0, 3])
def test_without_types_merging_and_metric_the_edges_are_those_of_dsig(background):
    pages = [make_page(4, background=background), make_page(5, background=background)]
    plain = dict(merge=False, node_type="none")
    expected = run(DSIG(context()), pages)[0]["edges"] / IMAGES_A_DEVICE
    for options in (dict(distance="euclidean"), dict(rho_min=1.0)):
        found = run(build(**plain, **options), pages)[0]["edges"]
        assert torch.allclose(found, expected, rtol=1e-5)
    assert not torch.allclose(run(build(**plain), pages)[0]["edges"], expected, rtol=1e-2)


@pytest.mark.parametrize("options", [{}, {"distance": "euclidean"}, {"weight_by": "mahalanobis"}])
def test_terms_are_means_over_images(options):
    pages = [make_page(6), make_page(7, texts=3), make_page(8, figures=1)]
    loss = build(**options)
    run(loss, pages)
    loss.eval()
    alone = [run(loss, [page])[0] for page in pages]
    together = run(loss, pages)[0]
    means = {name: torch.stack([each[name] for each in alone]).mean() for name in together}
    assert same(together, means)
    assert same(run(loss, pages * 2)[0], together)
    empty = make_page(9, texts=0, figures=0, background=0, easy=0)
    assert same(run(loss, [*pages, empty])[0], together)
    blank = make_page(9, texts=0, figures=0, background=0)
    found = run(loss, [*pages, blank])[0]
    own = run(loss, [blank])[0]
    assert own["background"] > 0 and own["edges"] == own["text"] == own["nontext"] == 0
    # a page without a node leaves the mean of the graph, and its background counts
    background = (3 * together.pop("background") + own["background"]) / 4
    assert torch.allclose(found.pop("background"), background)
    assert same(found, together)


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_no_gradient_reaches_the_teacher(options):
    student, teacher, targets = batch([make_page(0)])
    teacher.regions.features.requires_grad_()
    teacher.regions.logits.requires_grad_()
    sum(GraphKD(context(), **options)(student, teacher, targets).values()).backward()
    assert teacher.regions.features.grad is None and teacher.regions.logits.grad is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_input_is_computed_in_float32(dtype):
    pages = [make_page(0)]
    expected, _ = run(build(), pages)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, grad = run(build(), pages, dtype=dtype)
    assert same(found, expected, rtol=0.05)
    assert all(term.dtype == torch.float32 for term in found.values())
    assert grad.dtype == dtype and grad.isfinite().all()


@pytest.mark.parametrize("options", VARIANTS, ids=str)
@pytest.mark.parametrize("width", [6, 12])
def test_another_width_trains_an_adapter(options, width):
    torch.manual_seed(0)
    loss = GraphKD(context(student_channels=width), **options)
    terms, grad = run(loss, [make_page(0, student_width=width)])
    assert all(term.isfinite() for term in terms.values()) and grad.isfinite().all()
    student, teacher, targets = batch([make_page(0, student_width=width)])
    sum(loss(student, teacher, targets).values()).backward()
    assert loss.adapter.weight.grad.any()
    student, teacher, targets = batch(
        [make_page(0, student_width=width, texts=0, figures=0, background=0, easy=0)]
    )
    loss.zero_grad()
    sum(loss(student, teacher, targets).values()).backward()
    assert loss.adapter.weight.grad is not None and not loss.adapter.weight.grad.any()


def test_the_adapter_starts_near_orthogonal():
    loss = GraphKD(context(student_channels=6), node_type="gt_class")
    weight = loss.adapter.weight.flatten(1)
    assert torch.allclose(weight.T @ weight, torch.eye(6), atol=1e-5)


def test_edges_do_not_need_equal_widths():
    page = make_page(0)
    doubled = page.change(student=page.teacher.repeat(1, 2, 1, 1))
    loss = GraphKD(context(student_channels=16), node_type="gt_class")
    assert run(loss, [doubled])[0]["edges"] < 1e-12


def test_other_region_sizes_meet_at_the_smaller():
    page = make_page(0, size=6)
    small = torch.nn.functional.avg_pool2d(page.teacher, 2)
    terms, _ = run(build(), [page.change(student=small)])
    assert all(term < 1e-10 for term in terms.values())


def test_only_the_teacher_decides_the_graph():
    page = make_page(1, texts=14)
    loss = build()
    run(loss, [page])
    before = loss.log["nodes"]
    run(loss, [page.change(student=torch.zeros_like(page.student) + 1)])
    assert loss.log["nodes"] == before


def test_equal_regions_are_finite():
    page = make_page(0)
    same_everywhere = page.change(
        teacher=torch.ones_like(page.teacher), student=torch.zeros_like(page.student)
    )
    for options in VARIANTS:
        terms, grad = run(GraphKD(context(), **options), [same_everywhere])
        assert all(term.isfinite() for term in terms.values()) and grad.isfinite().all()


def test_log_tells_the_graph():
    loss = GraphKD(context())
    run(loss, [make_page(1, texts=14, figures=4, background=3)])
    log = loss.log
    assert log["nodes_before"] == 21 and log["nodes"] < 21
    assert log["text"] + log["nontext"] + log["background"] == log["nodes"]
    assert log["background"] == 3
    assert 0 < log["text_share"] < 1 and -1 <= log["edge_mean"] <= 1
    assert log["text_auc"] > 0.9 and log["text_sign"] == 1
    assert log["metric_condition"] > 1 and 0.1 <= log["metric_shrinkage"] <= 1
    assert not any(value.requires_grad for value in log.values())
    run(loss, [make_page(1, texts=0, figures=0, background=0)])
    assert "nodes" not in loss.log


def test_distances_all_but_equal_give_a_warning(caplog):
    page = make_page(0)
    flat = page.change(teacher=torch.zeros_like(page.teacher))
    loss = build(weight_by="mahalanobis")
    loss.check_every = 1
    with caplog.at_level(logging.WARNING):
        run(loss, [page])
        assert loss.log["d2_variation"] > 0.02 and not caplog.records
        run(loss, [flat])
    assert "almost equal" in caplog.text


def test_state_is_the_adapter_and_running_sums_and_it_loads():
    assert not build().state_dict()
    loss = GraphKD(context(), affinity="mahalanobis")
    run(loss, [make_page(0)])
    twin = GraphKD(context(), affinity="mahalanobis")
    twin.load_state_dict(loss.state_dict())
    pages = [make_page(5)]
    assert same(run(loss.eval(), pages)[0], run(twin.eval(), pages)[0], rtol=0)


def test_evaluation_leaves_the_running_sums_alone():
    loss = GraphKD(context(), affinity="mahalanobis")
    run(loss, [make_page(0)])
    before = {name: value.clone() for name, value in loss.state_dict().items()}
    run(loss.eval(), [make_page(1)])
    assert all(torch.equal(before[name], value) for name, value in loss.state_dict().items())


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_instance_graph_is_the_graph_of_the_loss(options):
    pages = [make_page(0), make_page(1, texts=14)]
    loss = GraphKD(context(), **options)
    run(loss, pages)
    before = {name: value.clone() for name, value in loss.state_dict().items()}
    _, teacher, targets = batch(pages)
    graphs = [loss.instance_graph(teacher, targets, image) for image in range(2)]
    assert all(torch.equal(before[name], value) for name, value in loss.state_dict().items())
    nodes = sum(len(graph.node_types) for graph in graphs) / 2
    assert nodes == loss.log["nodes"]
    for page, graph in zip(pages, graphs, strict=True):
        size = len(graph.node_types)
        assert graph.edges.shape == (size, size)
        assert graph.assignment.shape == (size, len(graph.regions))
        assert torch.allclose(graph.assignment.sum(1), torch.ones(size))
        assert torch.equal(graph.boxes, page.boxes[graph.regions])
        assert torch.equal(graph.node_types[graph.groups], graph.region_types)
        is_background = page.labels[graph.regions] == CLASSES
        assert torch.equal(graph.region_types == BACKGROUND, is_background)
    if options == {"node_type": "gt_class"}:
        kinds = torch.where(pages[0].labels[graphs[0].regions] < 2, TEXT, NONTEXT)
        foreground = graphs[0].region_types != BACKGROUND
        assert torch.equal(graphs[0].region_types[foreground], kinds[foreground])


def test_weighted_edges_by_hand():
    page = make_page(0, texts=2, figures=1, background=0)
    loss = build(weight_by="mahalanobis", distance="euclidean", merge=False)
    terms, _ = run(loss, [page])
    rows = page.teacher[:3].mean((2, 3))
    factor = covariance_factor(
        loss.teacher_scatter.scatter, loss.teacher_scatter.dof, min_shrinkage=0.1
    )
    distances = squared_mahalanobis(rows, factor)
    off = torch.tensor([distances[0, 1], distances[0, 2], distances[1, 2]])
    weights = (off / off.median()).clamp(0.1, 10)
    cosines = [cosine_affinity(each[:3].flatten(1)) for each in (page.student, page.teacher)]
    squares = (cosines[0] - cosines[1]).square()
    text = 2 * weights[0] * squares[0, 1] / 4
    mixed = 2 * (weights[1] * squares[0, 2] + weights[2] * squares[1, 2]) / 4
    assert torch.allclose(terms["edges"], 0.5 * (0.5 * text + mixed) / 2.5, rtol=1e-4)


def test_other_class_lists_are_fine_for_nodes_and_edges():
    page = make_page(0)
    wide = page.change(logits=torch.cat([page.logits[:, :1]] * 9 + [page.logits], 1))
    loss = GraphKD(context(same_classes=False))
    terms, _ = run(loss, [wide])
    assert terms["background"] > 0 and terms["edges"] > 0


def test_needs_follow_the_options():
    assert build().needs == {"region_features", "region_predictions"}
    assert build(max_background=0).needs == {"region_features"}
    assert "region_predictions" in build(max_background=0, node_type="teacher_class").needs
    student, teacher, targets = batch([make_page(0)])
    features_only = type(teacher)(
        {}, regions=type(teacher.regions)(teacher.regions.boxes, teacher.regions.features)
    )
    build(max_background=0)(student, features_only, targets)
    build(max_background=0).instance_graph(features_only, targets, 0)


@pytest.mark.parametrize(
    ("facts", "options", "message"),
    [
        ({}, {"AFFINITY": "manhattan"}, "AFFINITY must be one of cosine, mahalanobis"),
        ({}, {"NODE_TYPE": "size"}, "NODE_TYPE must be one of"),
        ({}, {"THRESHOLD": "mean"}, "THRESHOLD must be one of"),
        ({}, {"RHO_MIN": 2}, "RHO_MIN must lie in 0..1"),
        ({}, {"ALPHA": -1}, "ALPHA must not be negative"),
        ({}, {"EDGE_TYPE_WEIGHTS": [1, 1]}, "EDGE_TYPE_WEIGHTS must be 3 numbers"),
        ({}, {"EDGE_TYPE_WEIGHTS": [0, 0, 0]}, "EDGE_TYPE_WEIGHTS must not all be 0"),
        ({}, {"NEIGHBOURS": 0}, "NEIGHBOURS must be a whole number of 1 or more"),
        ({}, {"MERGING": True}, "MERGING is no option"),
        ({"text_classes": None}, {}, "which classes are text"),
        ({"same_classes": False}, {"NODE_TYPE": "teacher_class"}, "same class list"),
    ],
)
def test_a_users_mistake_is_one_line_that_names_the_file(facts, options, message):
    with pytest.raises(UserError, match="run.yaml.*graphkd") as caught:
        build_losses({"graphkd": options}, context(**facts), source="run.yaml")
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("path", sorted(METHODS.glob("graphkd*.yaml")), ids=lambda path: path.stem)
def test_every_method_file_builds_and_runs(path):
    cfg = CfgNode.load_yaml_with_base(str(path))
    losses = build_losses(cfg["DISTILL"]["LOSSES"], context(), source=path.name)
    terms, _ = run(losses["graphkd"].module, [make_page(0)])
    assert all(term.isfinite() for term in terms.values())


def test_a_step_downhill_brings_the_student_closer():
    page = make_page(0)
    student, teacher, targets = batch([page])
    loss = build()
    features = student.regions.features
    optimizer = torch.optim.SGD([features], lr=20.0)
    values = []
    for _ in range(30):
        optimizer.zero_grad()
        total = sum(loss(student, teacher, targets).values())
        total.backward()
        optimizer.step()
        values.append(total.item())
    assert values[-1] < 0.5 * values[0]
