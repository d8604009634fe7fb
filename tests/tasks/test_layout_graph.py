"""A detector's own graph of a page: nodes are its detections, edges its features' cosines; and the
command that draws it.
"""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes
from PIL import Image

from graphkd.cli import main
from graphkd.data.mapper import PageMapper
from graphkd.modelfile import build_detector, read_model, write_safetensors
from graphkd.tasks.layout_report import detected_graph
from tests.own_data import draw_page
from tests.small import CLASSES, small_cfg, small_model

LOW = 0.05  # a detector with random weights is never sure of anything


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """A detector's file with random weights, as `graphkd export` writes it."""
    folder = tmp_path_factory.mktemp("weights")
    small = ["INPUT.MIN_SIZE_TEST", "96", "INPUT.MAX_SIZE_TEST", "128"]
    cfg = small_cfg("rcnn_tiny_MNv4s", *small, "TEST.DETECTIONS_PER_IMAGE", "12")
    (folder / "config.yaml").write_text(cfg.dump())
    model = small_model("rcnn_tiny_MNv4s", *small)
    torch.save({"model": model.state_dict(), "classes": CLASSES}, folder / "model.pth")
    path = folder / "model.safetensors"
    write_safetensors(path, read_model(folder / "model.pth"), half=False)
    return path


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("page") / "page.png"
    draw_page(path, 1)
    # Twice as large as the model's input, so that boxes in the wrong frame would show.
    Image.open(path).resize((192, 256)).save(path)
    return path


def graph_of(weights, page, **changes):
    arguments = {"text_classes": ("text", "title"), "score": LOW, **changes}
    return detected_graph(read_model(weights), {"file_name": str(page)}, **arguments)


def test_nodes_are_detections_in_page_pixels_and_edges_their_features(weights, page):
    view = graph_of(weights, page, text_classes=())
    stored = read_model(weights)
    item = PageMapper(stored.cfg, is_train=False)({"file_name": str(page)})
    model = build_detector(stored)
    with torch.no_grad():
        found = model([item])[0]["instances"]
        features = model.backbone(model.preprocess_image([item]).tensor)
        heads = model.roi_heads
        inputs = Boxes(found.pred_boxes.tensor / 2)  # the model sees the page at half its size
        pooled = heads.box_pooler([features[level] for level in heads.box_in_features], [inputs])
    assert item["image"].shape == (3, 128, 96) and view.image.shape == (256, 192, 3)
    assert len(view.boxes) == len(found) > 3 and found.scores.min() >= LOW
    assert np.allclose(view.boxes, found.pred_boxes.tensor.numpy(), atol=1e-3)
    assert view.classes == [CLASSES[k] for k in found.pred_classes.tolist()]
    expected = torch.nn.functional.normalize(pooled.flatten(1), dim=1)
    assert np.allclose(view.edges, (expected @ expected.T).numpy(), atol=1e-4)


def test_types_follow_the_text_classes_and_only_text_merges(weights, page):
    view = graph_of(weights, page, text_classes=CLASSES)
    assert set(view.node_types) == {"text"}
    view = graph_of(weights, page, text_classes=())
    assert set(view.node_types) == {"nontext"}
    assert len(set(view.groups)) == len(view.groups) == len(view.edges)
    assert np.allclose(view.edges, view.edges.T, atol=1e-5)
    assert np.allclose(np.diag(view.edges), 1, atol=1e-5) and np.abs(view.edges).max() < 1.0001


def test_nothing_found_is_no_graph(weights, page):
    assert graph_of(weights, page, score=1.0) is None


def run_command(*words) -> int:
    return main(["graph", *map(str, words)])


def test_the_command_writes_three_kinds_of_file(weights, page, tmp_path, capsys):
    for name in ("graph.html", "graph.svg", "graph.png"):
        out = tmp_path / name
        assert run_command(page, weights, "-o", out, "--score", LOW) == 0
        said = capsys.readouterr().out
        assert "text classes (as in publaynet): text, title, list" in said and str(out) in said
    assert Image.open(tmp_path / "graph.png").size[0] > 300
    root = ElementTree.fromstring((tmp_path / "graph.svg").read_text())
    assert root.tag.endswith("svg") and "degree" in "".join(root.itertext())
    assert "data:image/jpeg" in (tmp_path / "graph.html").read_text()


def test_mistakes_are_one_line(weights, page, tmp_path, capsys):
    text = tmp_path / "page.txt"
    text.write_text("no picture")
    out = tmp_path / "g.svg"
    mistakes = {
        "not an image": [text, weights],
        "is not there": [tmp_path / "nowhere.png", weights],
        "no such weights file": [page, tmp_path / "nowhere.pth"],
        "no class zebra; its classes are text": [page, weights, "--text-classes", "text,zebra"],
        "an .html, .svg or .png file": [page, weights, "-o", tmp_path / "g.gif"],
        "try a lower --score": [page, weights, "--score", "1", "-o", out],
        "--edges is 0": [page, weights, "--edges", "0"],
    }
    for words, arguments in mistakes.items():
        assert run_command(*arguments) == 2
        told = capsys.readouterr().err
        assert words in told and told.count("\n") == 1
    assert not out.exists()
