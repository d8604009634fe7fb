"""Exported files that several tests of export share; each is written once."""

import pytest
import torch

from graphkd.export.boxes import SIGNATURE
from graphkd.export.files import write_onnx, write_torchscript
from graphkd.export.network import BoxNetwork
from graphkd.modelfile import build_detector
from tests.export.sample import header, stored


def network_of(model_file, **options) -> BoxNetwork:
    return BoxNetwork(build_detector(model_file), model_file.cfg, **options).eval()


@pytest.fixture(scope="session")
def network():
    torch.set_num_threads(1)
    return network_of(stored())


@pytest.fixture(scope="session")
def onnx_file(tmp_path_factory, network):
    path = tmp_path_factory.mktemp("export") / "tiny.onnx"
    write_onnx(path, network, SIGNATURE, header(network.score_floor))
    return path


@pytest.fixture(scope="session")
def torchscript_file(tmp_path_factory, network):
    path = tmp_path_factory.mktemp("export") / "tiny.pt"
    write_torchscript(path, network, SIGNATURE, header(network.score_floor))
    return path
