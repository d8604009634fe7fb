import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import onnxruntime
import PIL
import pytest
import torch

from graphkd.errors import UserError
from graphkd.export.box_parity import match
from graphkd.export.boxes import SIGNATURE, load_exported
from graphkd.export.files import (
    open_openvino,
    open_torchscript,
    write_onnx,
    write_openvino,
)
from graphkd.predict.detector import Detections
from graphkd.predict.onnx_detector import load_onnx
from graphkd.weight_files import KEY
from tests.export.conftest import network_of
from tests.export.sample import header, page, stored

BATCHES = {
    "one": [page(128, 96)],
    "three": [page(140, 100, seed=seed) for seed in range(3)],
    "small": [page(60, 90)],
}


def expected(network, pages):
    with torch.no_grad():
        found = network(torch.from_numpy(np.stack(pages)))
    boxes, scores, classes, image = (part.numpy() for part in found)
    return [
        Detections(boxes[image == n], scores[image == n], classes[image == n])
        for n in range(len(pages))
    ]


def assert_same(wanted, given, *, box=1.0, share=0.05):
    """Nearly: resizing may differ by one grey level, and random weights make much of it."""
    for a, b in zip(wanted, given, strict=True):
        left, right = match(a, b)
        assert len(a.scores) >= 3
        assert len(left) >= (1 - share) * max(len(a.scores), len(b.scores))
        assert np.median(np.abs(a.boxes[left] - b.boxes[right])) < box / 10
        assert np.quantile(np.abs(a.boxes[left] - b.boxes[right]), 0.9) < box
        assert np.median(np.abs(a.scores[left] - b.scores[right])) < 0.01


@pytest.mark.parametrize("batch", BATCHES)
def test_onnx_finds_what_the_network_finds(onnx_file, network, batch):
    detector = load_onnx(onnx_file, device=None)
    given = detector.detect([detector.prepare(pixels) for pixels in BATCHES[batch]])
    assert_same(expected(network, BATCHES[batch]), given)


def test_onnx_keeps_the_contract(onnx_file, network):
    import onnx

    model = onnx.load(str(onnx_file))
    onnx.checker.check_model(model, full_check=True)
    (images,) = model.graph.input
    shape = images.type.tensor_type.shape.dim
    assert images.name == "images" and images.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert [d.dim_param for d in shape[:3]] == ["N", "H", "W"] and shape[3].dim_value == 3
    kinds = [(o.name, o.type.tensor_type.elem_type) for o in model.graph.output]
    real, whole = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
    assert kinds == list(zip(SIGNATURE.outputs, (real, real, whole, whole), strict=True))
    (said,) = [json.loads(p.value) for p in model.metadata_props if p.key == KEY]
    assert said["classes"] == list(header(0.05).classes) and said["precision"] == "float32"
    thresholds = said["calibration"]["thresholds"]
    assert thresholds["title"] == 0.25 and thresholds["text"] == 0.5
    assert said["score_floor"] == network.score_floor == 0.05 and said["card"] == {"seed": "0"}


def test_onnx_copes_with_pages_without_a_find(tmp_path):
    network = network_of(stored("rcnn_tiny_R18", "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "1.0"))
    path = tmp_path / "silent.onnx"
    write_onnx(path, network, SIGNATURE, header(1.0))
    detector = load_onnx(path, device=None)
    found = detector.detect([detector.prepare(page()), detector.prepare(page())])
    assert [each.boxes.shape for each in found] == [(0, 4), (0, 4)]


def test_onnx_without_a_single_proposal(tmp_path, onnx_file):
    """A page of one pixel leaves no proposal that is not empty or tiny."""
    detector = load_onnx(onnx_file, device=None)
    (found,) = detector.detect([detector.prepare(np.zeros((1, 1, 3), np.uint8))])
    assert (found.boxes <= 1).all()


DENSE = {
    "retinanet": ("retinanet_R18",),
    "gfl v2": ("gfl_R18", "MODEL.GFL.QUALITY", "True"),
    "pico": ("gfl_pico_MNv4s",),
}


@pytest.mark.parametrize("kind", DENSE)
def test_one_stage_detectors_as_onnx(tmp_path, kind):
    network = network_of(stored(*DENSE[kind]))
    path = tmp_path / "dense.onnx"
    write_onnx(path, network, SIGNATURE, header(network.score_floor))
    detector = load_onnx(path, device=None)
    for pages in (BATCHES["one"], BATCHES["three"]):
        given = detector.detect([detector.prepare(pixels) for pixels in pages])
        assert_same(expected(network, pages), given)


@pytest.mark.parametrize("batch", BATCHES)
def test_torchscript_is_the_network(torchscript_file, network, batch):
    detector = load_exported(torchscript_file)
    assert detector.header.thresholds["title"] == 0.25
    assert detector.header.card == {"seed": "0"}
    given = detector.detect([detector.prepare(pixels) for pixels in BATCHES[batch]])
    for a, b in zip(expected(network, BATCHES[batch]), given, strict=True):
        assert np.allclose(a.boxes, b.boxes, atol=1e-2)
        assert np.allclose(a.scores, b.scores, atol=1e-4)
        assert (a.classes == b.classes).all()


def test_torchscript_needs_neither_graphkd_nor_detectron2(torchscript_file, network, tmp_path):
    script = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("graphkd", "detectron2", "fvcore", "timm"):
            raise ImportError(f"{name} is not there")
sys.meta_path.insert(0, Blocked())
import json, numpy, torch, torchvision
extra = {"graphkd": ""}
model = torch.jit.load(sys.argv[1], _extra_files=extra)
assert json.loads(extra["graphkd"])["classes"][0] == "text"
boxes, *_ = model(torch.from_numpy(numpy.load(sys.argv[2])))
numpy.save(sys.argv[3], boxes.detach().numpy())
"""
    np.save(tmp_path / "in.npy", np.stack(BATCHES["three"]))
    files = [str(torchscript_file), str(tmp_path / "in.npy"), str(tmp_path / "out.npy")]
    subprocess.run([sys.executable, "-c", script, *files], check=True, cwd=tmp_path, timeout=300)
    wanted = np.concatenate([found.boxes for found in expected(network, BATCHES["three"])])
    assert np.allclose(np.load(tmp_path / "out.npy"), wanted, atol=1e-2)


def test_openvino_finds_what_the_network_finds(tmp_path):
    pytest.importorskip("openvino")
    network = network_of(stored(), for_openvino=True)
    path, onnx_file = tmp_path / "tiny.xml", tmp_path / "tiny.onnx"
    write_onnx(onnx_file, network, SIGNATURE, header(0.05))
    write_openvino(path, onnx_file, header(0.05), half=False)
    detector = load_exported(path)
    assert detector.header.thresholds["title"] == 0.25
    for pages in (BATCHES["one"], BATCHES["three"]):
        given = detector.detect([detector.prepare(pixels) for pixels in pages])
        assert_same(expected(network, pages), given, share=0.2)
    half = tmp_path / "half.xml"
    write_openvino(half, onnx_file, header(0.05), half=True)
    sizes = [file.with_suffix(".bin").stat().st_size for file in (half, path)]
    assert sizes[0] < 0.55 * sizes[1]


def test_other_files_are_refused(tmp_path):
    for name, load in (("a.pt", open_torchscript), ("a.xml", open_openvino)):
        (tmp_path / name).write_text("nothing of the kind")
        with pytest.raises(UserError, match=name):
            load(tmp_path / name)


SCRIPT = (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8")
SCRIPT = SCRIPT.partition("```python\n")[2].partition("```")[0]


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory):
    """An environment with numpy, pillow and onnxruntime, and nothing of this project."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    for module in (np, PIL, onnxruntime):
        package = Path(module.__file__).parent
        (site / package.name).symlink_to(package)
        # Wheels keep their own libraries beside the package.
        for libraries in package.parent.glob("*.libs"):
            if libraries.name.lower() in ("numpy.libs", "pillow.libs", "onnxruntime.libs"):
                if not (site / libraries.name).exists():
                    (site / libraries.name).symlink_to(libraries)
    return folder / "bin" / "python"


def test_the_script_of_the_docs_needs_onnxruntime_alone(bare_python, onnx_file, tmp_path):
    """Batches of 1 and 3 in two sizes give what they give in this process."""
    from PIL import Image

    detector = load_onnx(onnx_file, device=None)
    for number, pages in enumerate((BATCHES["one"], BATCHES["three"])):
        names = [f"{number}-{index}.png" for index in range(len(pages))]
        for name, pixels in zip(names, pages, strict=True):
            Image.fromarray(pixels).save(tmp_path / name)
        script = SCRIPT + "\nfor name in ('torch', 'detectron2', 'graphkd'):\n"
        script += "    import importlib.util as u\n    assert u.find_spec(name) is None\n"
        script += "np.savez('found.npz', *found)\n"
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        done = subprocess.run(
            [bare_python, "-c", script, onnx_file, *names],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        given = np.load(tmp_path / "found.npz")
        here = detector.detect([detector.prepare(pixels) for pixels in pages])
        for part, field in enumerate(("boxes", "scores", "classes")):
            wanted = np.concatenate([getattr(each, field) for each in here])
            assert np.allclose(given[f"arr_{part}"], wanted, atol=1e-3)
        assert done.stdout.count("\n") >= sum(len(each.scores > 0.5) > 0 for each in here)
