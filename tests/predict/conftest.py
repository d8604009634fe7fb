"""Detectors that several tests of prediction share."""

from functools import lru_cache
from pathlib import Path

import pytest

from graphkd.modelfile import Header, ModelFile, write_safetensors
from graphkd.predict.model import Model, load_model
from tests.predict.files import write_onnx
from tests.small import CLASSES, small_cfg, small_model
from tests.small_disk import small_disk_at

# Pages are enlarged to 128 px, so that a test that does not resize as evaluation does is noticed.
SIZE = ("INPUT.MIN_SIZE_TEST", "128", "INPUT.MAX_SIZE_TEST", "160")


@pytest.fixture(scope="session")
def onnx_file(tmp_path_factory) -> Path:
    return write_onnx(tmp_path_factory.mktemp("onnx") / "tiny.onnx")


@pytest.fixture(scope="session")
def stub(onnx_file) -> Model:
    """The detector of `files.write_onnx`."""
    return load_model(onnx_file)


@pytest.fixture(scope="session")
def torch_file(tmp_path_factory) -> Path:
    """A tiny real detector with random weights and 5 classes."""
    return write_torch(tmp_path_factory.mktemp("torch") / "tiny.safetensors")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MB."""
    with small_disk_at(tmp_path / "disk", size="1m") as folder:
        yield folder


@lru_cache(maxsize=1)
def random_weights() -> dict:
    return small_model("rcnn_tiny_MNv4s").state_dict()


def write_torch(path: Path, *overrides: str, thresholds: dict | None = None) -> Path:
    cfg = small_cfg("rcnn_tiny_MNv4s", *SIZE, *overrides)
    header = Header(CLASSES, calibration={"thresholds": thresholds or {}})
    write_safetensors(path, ModelFile(path, cfg, random_weights(), header), half=False)
    return path
