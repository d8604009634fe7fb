"""The installer's patches, on stand-ins of the files they edit and on the installed Detectron2,
and what is said about one that cannot be imported.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import detectron2
import numpy as np
import pytest
import torch

from graphkd.cli import main
from graphkd.commands import install_detectron2 as installer
from graphkd.errors import UserError

SPEC = importlib.util.find_spec("detectron2._C")
PURE = SPEC is not None and (SPEC.origin or "").endswith(".py")


def source_for(patch):
    """Lines that a patch expects, as often as it expects them."""
    lines = {
        r"\bImage\.LINEAR\b": "Image.LINEAR",
        r"import pkg_resources\n": "import pkg_resources",
        r"torch\.meshgrid\(shifts_y, shifts_x\)": "torch.meshgrid(shifts_y, shifts_x)",
    }
    if "resource_filename" in patch.pattern:
        lines[patch.pattern] = 'pkg_resources.resource_filename(\n "a.b", os.path.join("c", d)\n)'
    return (lines.get(patch.pattern, "np.bool np.bool_") + "\n") * patch.count


def write_package(folder):
    texts = {}
    for patch in installer.PATCHES:
        texts[patch.file] = texts.get(patch.file, "") + source_for(patch)
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_patches_edit_what_they_say(tmp_path):
    write_package(tmp_path)
    installer.apply_patches(tmp_path)
    text = "".join(path.read_text() for path in tmp_path.rglob("*.py"))
    for gone in ("Image.LINEAR", "import pkg_resources", "np.bool "):
        assert gone not in text
    assert "np.bool_" in text
    assert 'str(files("a.b").joinpath(os.path.join("c", d)))' in text


def test_another_source_stops_the_installation(tmp_path):
    write_package(tmp_path)
    (tmp_path / "data" / "build.py").write_text("nothing to patch\n")
    with pytest.raises(UserError, match="data/build.py: 0 places match"):
        installer.apply_patches(tmp_path)


def test_every_patch_has_a_reason():
    assert all(patch.reason and patch.count > 0 for patch in installer.PATCHES)


@pytest.mark.skipif(not PURE, reason="this Detectron2 has its compiled operators")
def test_a_compiled_operator_raises_a_clear_error_when_called():
    from detectron2.layers import nms_rotated
    from detectron2.layers.rotated_boxes import pairwise_iou_rotated

    box = torch.tensor([[0.0, 0, 1, 1, 0]])
    for operator in (
        lambda: nms_rotated(box, box[:, 0], 0.5),
        lambda: pairwise_iou_rotated(box, box),
    ):
        with pytest.raises(RuntimeError, match="needs Detectron2's compiled operators"):
            operator()


@pytest.mark.skipif(not PURE, reason="this Detectron2 has its compiled operators")
def test_detectron2_can_describe_itself():
    from detectron2.utils.collect_env import collect_env_info

    assert "pure Python build" in collect_env_info()


def test_the_patched_places_work():
    from detectron2.data.transforms import ExtentTransform
    from detectron2.structures import BitMasks

    image = ExtentTransform((0, 0, 4, 4), (2, 2)).apply_image(np.zeros((4, 4, 3), np.uint8))
    assert image.shape == (2, 2, 3)
    masks = BitMasks.from_polygon_masks([[np.array([0.0, 0, 4, 0, 4, 4])]], 4, 4)
    assert masks.tensor.dtype is torch.bool


@pytest.mark.skipif(not PURE, reason="upstream's model zoo needs pkg_resources")
def test_the_model_zoo_works_without_setuptools():
    from detectron2.model_zoo import get_config_file

    assert get_config_file("COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml").endswith(".yaml")


@pytest.fixture(scope="module")
def stock(tmp_path_factory) -> Path:
    """A folder for PYTHONPATH with a Detectron2 that fails as stock 0.6 does under Pillow 10."""
    folder = tmp_path_factory.mktemp("stock")
    package = shutil.copytree(Path(detectron2.__file__).parent, folder / "detectron2")
    file = package / "data" / "transforms" / "transform.py"
    file.write_text(file.read_text().replace("Image.BILINEAR", "Image.LINEAR"))
    return folder


def python(*arguments: str, path: Path) -> subprocess.CompletedProcess:
    places = os.pathsep.join([str(path), str(Path(installer.__file__).parents[2])])
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": places},
        capture_output=True,
        text=True,
    )


def test_a_detectron2_that_cannot_be_imported_is_one_line_in_every_place(stock):
    # A command that needs it, the installer that would keep it, and start_train.sh's question.
    for words in ("graphkd train R50-R18", "graphkd install-detectron2", "graphkd.packages full"):
        done = python("-m", *words.split(), path=stock)
        said = done.stdout + done.stderr
        assert done.returncode in (1, 2) and said.count("\n") == 1, said
        assert "no attribute 'LINEAR'" in said and "stock 0.6 needs Pillow below 10" in said
        assert ("install-detectron2 --replace" in said) == (words != "graphkd.packages full")


def test_other_errors_keep_their_trace(monkeypatch):
    def fail(args):
        raise RuntimeError("of our own")

    monkeypatch.setattr(installer, "run", fail)
    with pytest.raises(RuntimeError, match="of our own"):
        main(["install-detectron2"])


@pytest.mark.parametrize(
    ("found", "replace", "problem", "outcome"),
    [
        (None, False, None, "installed"),
        ("0.6+graphkd.00000000", False, None, "installed"),
        ("0.6", True, None, "installed"),
        ("0.6", False, None, "kept"),
        (installer.version(), False, None, "kept"),
        ("0.6", False, "no attribute 'LINEAR'", "cannot be imported"),
        (None, False, "of another kind", "of another kind"),
    ],
)
def test_what_works_is_kept(monkeypatch, capsys, found, replace, problem, outcome):
    done = []
    monkeypatch.setattr(installer, "installed_version", lambda: found)
    monkeypatch.setattr(installer, "import_problem", lambda: problem)
    monkeypatch.setattr(installer, "install", lambda: done.append("installed"))
    if problem:
        with pytest.raises(UserError, match=outcome):
            installer.run(Namespace(replace=replace))
        return
    assert installer.run(Namespace(replace=replace)) == 0
    assert (done or ["kept"]) == [outcome]
    assert ("keeping it" in capsys.readouterr().out) == (outcome == "kept")
