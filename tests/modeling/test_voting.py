"""Score-voting suppression against hand cases and against greedy suppression."""

import copy

import pytest
import torch
from detectron2.structures import Boxes, Instances
from torchvision.ops import box_iou

from graphkd.errors import UserError
from graphkd.modeling.network import build_network
from graphkd.modeling.voting import cluster, powered_diou, score_voting, suppress
from tests.small import small_cfg


def random_boxes(seed, count=60, span=100.0):
    draw = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=draw) * span
    sides = torch.rand(count, 2, generator=draw) * 40 + 5
    boxes = torch.cat([corner, corner + sides], 1)
    return boxes, torch.rand(count, generator=draw), torch.randint(0, 3, (count,), generator=draw)


def greedy(pairs, count):
    kept = []
    for place in range(count):
        if not any((other, place) in pairs for other in kept):
            kept.append(place)
    return kept


def kept_of(pairs, count):
    better, worse = torch.tensor(sorted(pairs), dtype=torch.int64).reshape(-1, 2).T
    return torch.nonzero(cluster(better, worse, count=count)).flatten().tolist()


def test_fixed_point_is_greedy_suppression():
    for seed in range(50):
        draw = torch.Generator().manual_seed(seed)
        near = torch.triu(torch.rand(40, 40, generator=draw) > 0.9, diagonal=1)
        pairs = set(map(tuple, torch.nonzero(near).tolist()))
        assert kept_of(pairs, 40) == greedy(pairs, 40)


def test_a_chain_of_boxes_settles():
    """Each box suppresses the next, so every second one stays."""
    assert kept_of({(place, place + 1) for place in range(8)}, 9) == [0, 2, 4, 6, 8]
    assert kept_of(set(), 3) == [0, 1, 2]


def test_nearness_by_hand():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10], [3, 3, 3, 3]])
    others = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5], [3, 3, 3, 3], [3, 3, 3, 3]])
    wanted = torch.tensor([1.0, 0.5 - (6.25 / 200) ** 0.8, -((8 / 200) ** 0.8), 0.0])
    torch.testing.assert_close(powered_diou(boxes, others), wanted)


@pytest.mark.parametrize(
    "nearness, weight", [(1.0, 1.0), (0.95, 0.905), (0.9, 0.670), (0.8, 0.202), (0.69, 0.0)]
)
def test_weight_of_a_vote(monkeypatch, nearness, weight):
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 11, 11]])
    given = torch.tensor([nearness])
    monkeypatch.setattr("graphkd.modeling.voting.powered_diou", lambda *_: given)
    scores, classes = torch.tensor([0.8, 0.4]), torch.zeros(2, dtype=torch.int64)
    voted, kept = score_voting(boxes, scores, classes, overlap=0.6)
    share = 0.4 * weight / (0.8 + 0.4 * weight)
    assert kept.tolist() == [0]
    torch.testing.assert_close(voted[0], boxes[0] + share, rtol=0, atol=1e-3)


def test_classes_never_mix_and_pages_may_be_large():
    boxes = torch.tensor([[5000.0, 9000, 5100, 9100]]).repeat(3, 1)
    boxes[2] += 1
    scores, classes = torch.tensor([0.9, 0.8, 0.7]), torch.tensor([0, 79, 79])
    voted, kept = score_voting(boxes, scores, classes, overlap=0.6)
    assert kept.tolist() == [0, 1]
    torch.testing.assert_close(voted[0], boxes[0], rtol=1e-6, atol=0)
    assert (voted[1] > boxes[1]).all() and (voted[1] < boxes[2]).all()


def test_scores_stay_and_kept_boxes_are_apart():
    boxes, scores, classes = random_boxes(3)
    found = Instances((200, 200), pred_boxes=Boxes(boxes), scores=scores, pred_classes=classes)
    result = suppress(found, overlap=0.6, most=20, voting=True)
    assert len(result) == 20
    assert torch.equal(result.scores, result.scores.sort(descending=True).values)
    assert set(result.scores.tolist()) <= set(scores.tolist())
    plain = suppress(found, overlap=0.6, most=20, voting=False)
    assert result.scores[0] == plain.scores[0]


@pytest.mark.parametrize("count", [0, 1, 1500])
def test_numbers_of_boxes(count):
    boxes, scores, classes = random_boxes(1, count, span=3000)
    voted, kept = score_voting(boxes, scores, classes, overlap=0.6)
    assert len(voted) == len(kept) == len(kept.unique()) and len(kept) <= 1000
    if count == 1:
        torch.testing.assert_close(voted, boxes)
    if count == 1500:
        assert scores[kept].min() >= scores.sort(descending=True).values[999]


DENSE = {
    "retinanet_R18": (
        *("MODEL.RETINANET.NUM_CLASSES", "5", "MODEL.RETINANET.NUM_CONVS", "1"),
        *("MODEL.FPN.OUT_CHANNELS", "16", "MODEL.RETINANET.SCORE_THRESH_TEST", "0.0"),
    ),
    "gfl_R18": (
        *("MODEL.GFL.NUM_CLASSES", "5", "MODEL.GFL.NUM_CONVS", "1"),
        *("MODEL.FPN.OUT_CHANNELS", "16", "MODEL.GFL.SCORE_THRESH_TEST", "0.0"),
    ),
}


@pytest.mark.parametrize("name", DENSE)
def test_dense_detectors_vote_where_the_config_says_so(name):
    models = []
    for voting in ("False", "True"):
        torch.manual_seed(0)
        cfg = small_cfg(name, *DENSE[name], "TEST.SCORE_VOTING", voting)
        models.append(build_network(cfg).eval())
    torch.manual_seed(1)
    page = [{"image": torch.rand(3, 64, 64) * 255, "height": 64, "width": 64}]
    with torch.no_grad():
        plain, voted, copied = (
            model(page)[0]["instances"] for model in (*models, copy.deepcopy(models[1]))
        )
    assert len(plain) and len(voted)
    assert voted.scores[0] == plain.scores[0]
    assert not torch.equal(voted.pred_boxes.tensor, plain.pred_boxes.tensor)
    assert box_iou(voted.pred_boxes.tensor[:1], plain.pred_boxes.tensor[:1]) > 0.6
    assert torch.equal(copied.pred_boxes.tensor, voted.pred_boxes.tensor)


def test_two_stage_detectors_refuse_it():
    with pytest.raises(UserError, match="SCORE_VOTING is for one-stage"):
        build_network(small_cfg("rcnn_tiny_R18", "TEST.SCORE_VOTING", "True"))
