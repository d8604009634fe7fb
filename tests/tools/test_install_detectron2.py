"""The installer's patches, on small stand-ins of the files they edit, and what they made
installed.
"""

import importlib.util

import numpy as np
import pytest
import torch

SPEC = importlib.util.find_spec("detectron2._C")
PURE = SPEC is not None and (SPEC.origin or "").endswith(".py")


@pytest.fixture
def installer(root):
    path = root / "tools" / "install_detectron2.py"
    spec = importlib.util.spec_from_file_location("install_detectron2", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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


def write_package(installer, folder):
    texts = {}
    for patch in installer.PATCHES:
        texts[patch.file] = texts.get(patch.file, "") + source_for(patch)
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_patches_edit_what_they_say(installer, tmp_path):
    write_package(installer, tmp_path)
    installer.apply_patches(tmp_path)
    text = "".join(path.read_text() for path in tmp_path.rglob("*.py"))
    for gone in ("Image.LINEAR", "import pkg_resources", "np.bool "):
        assert gone not in text
    assert "np.bool_" in text
    assert 'str(files("a.b").joinpath(os.path.join("c", d)))' in text


def test_another_source_stops_the_installation(installer, tmp_path):
    write_package(installer, tmp_path)
    (tmp_path / "data" / "build.py").write_text("nothing to patch\n")
    with pytest.raises(SystemExit, match="data/build.py: 0 places match"):
        installer.apply_patches(tmp_path)


def test_every_patch_has_a_reason(installer):
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
    from detectron2.model_zoo import get_config_file
    from detectron2.structures import BitMasks

    image = ExtentTransform((0, 0, 4, 4), (2, 2)).apply_image(np.zeros((4, 4, 3), np.uint8))
    assert image.shape == (2, 2, 3)
    masks = BitMasks.from_polygon_masks([[np.array([0.0, 0, 4, 0, 4, 4])]], 4, 4)
    assert masks.tensor.dtype is torch.bool
    assert get_config_file("COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml").endswith(".yaml")
