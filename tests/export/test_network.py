import numpy as np
import pytest
import torch
from detectron2.modeling import META_ARCH_REGISTRY

from graphkd.errors import UserError
from graphkd.export.network import BoxNetwork
from graphkd.modelfile import build_detector
from graphkd.predict.torch_detector import TorchDetector
from tests.export.conftest import network_of
from tests.export.sample import page, stored

KINDS = {
    "rcnn": ("rcnn_tiny_R18",),
    "class agnostic": ("rcnn_tiny_R18", "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", "True"),
    "bgr": ("rcnn_tiny_R18", "INPUT.FORMAT", "BGR"),
    "as it is": ("rcnn_tiny_R18", "INPUT.MIN_SIZE_TEST", "0"),
    "few": ("rcnn_tiny_R18", "TEST.DETECTIONS_PER_IMAGE", "3"),
    "retinanet": ("retinanet_R18",),
    "gfl": ("gfl_R18",),
    "gfl v2": ("gfl_R18", "MODEL.GFL.QUALITY", "True", "MODEL.GFL.SCORE_THRESH_TEST", "0.01"),
    "pico": ("gfl_pico_MNv4s",),
}


def run(network, *pages):
    with torch.no_grad():
        return [part.numpy() for part in network(torch.from_numpy(np.stack(pages)))]


@pytest.mark.parametrize("kind", KINDS)
def test_finds_what_detectron2_finds(kind):
    model_file = stored(*KINDS[kind])
    network, trained = network_of(model_file), TorchDetector(model_file, device="cpu")
    # 128 x 96 is the detector's own size: no resizing, the numbers must be those of Detectron2.
    pixels = page(128, 96)
    (wanted,) = trained.detect([trained.prepare(pixels)])
    boxes, scores, classes, image = run(network, pixels)
    assert len(scores) >= 3 and len(scores) == len(wanted.scores)
    assert np.allclose(scores, wanted.scores, atol=1e-5)
    assert np.allclose(boxes, wanted.boxes, atol=1e-2)
    assert (classes == wanted.classes).all()
    assert (image == 0).all()
    assert np.array_equal(scores, np.sort(scores)[::-1])


@pytest.mark.parametrize("kind", ["rcnn", "retinanet", "gfl", "pico"])
def test_a_page_in_a_batch_is_a_page_alone(kind):
    network = network_of(stored(*KINDS[kind]))
    pages = [page(140, 100, seed=seed) for seed in range(3)]
    boxes, scores, classes, image = run(network, *pages)
    assert (np.diff(image) >= 0).all() and set(image) == {0, 1, 2}
    for number, pixels in enumerate(pages):
        alone = run(network, pixels)
        own = image == number
        assert np.allclose(boxes[own], alone[0], atol=1e-2)
        assert np.allclose(scores[own], alone[1], atol=1e-5)
        assert (classes[own] == alone[2]).all()


def test_boxes_lie_on_the_page(network):
    boxes, *_ = run(network, page(301, 87))
    assert (boxes >= 0).all() and (boxes <= [87, 301, 87, 301]).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()


def test_nothing_found_is_no_rows():
    network = network_of(stored("rcnn_tiny_R18", "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "1.0"))
    found = run(network, page())
    assert [part.shape for part in found] == [(0, 4), (0,), (0,), (0,)]


def test_a_diverged_detector_finds_nothing():
    network = network_of(stored())
    with torch.no_grad():
        network.head.rpn_head.anchor_deltas.bias.fill_(float("nan"))
    assert run(network, page())[0].shape == (0, 4)


def test_says_which_detectors_it_knows():
    model_file = stored()
    model = build_detector(model_file)
    model.roi_heads.mask_on = True
    with pytest.raises(UserError, match="MASK_ON"):
        BoxNetwork(model, model_file.cfg)
    only_rpn = META_ARCH_REGISTRY.get("ProposalNetwork")(model_file.cfg)
    with pytest.raises(UserError, match="not ProposalNetwork"):
        BoxNetwork(only_rpn, model_file.cfg)


def test_other_colours_are_refused():
    model_file = stored()
    cfg = model_file.cfg.clone()
    cfg.defrost()
    cfg.INPUT.FORMAT = "YUV-BT.601"
    with pytest.raises(UserError, match="RGB and BGR"):
        BoxNetwork(build_detector(model_file), cfg)
