"""Shared fixtures: where real annotated pages lie, if they do."""

# ruff: noqa: E402

import os
from pathlib import Path

# `start_train.sh test` sets them for the commands; tests are of the package as it is installed.
for _name in ("GRAPHKD_HOME", "GRAPHKD_COMMAND"):
    os.environ.pop(_name, None)
# Sums over several threads differ in the last bit; session fixtures run before `few_threads`.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

from tests.crops_data import crops_data, crops_files  # noqa: F401
from tests.lines_data import lines_data  # noqa: F401
from tests.own_data import data_root, own_data  # noqa: F401
from tests.pair import pair  # noqa: F401

# One place for data sets, whatever folder a test works in.
os.environ.setdefault("DETECTRON2_DATASETS", str(Path(__file__).resolve().parents[1] / "datasets"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real annotated pages; skips the test where it is missing."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("GRAPHKD_REAL_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no real pages at {folder}; set GRAPHKD_REAL_DATA")
    return folder


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's folder."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def few_threads():
    """Small tensors run faster on one thread, and tests stay reproducible."""
    import torch

    torch.set_num_threads(1)
