"""A weights file that would run code does not get to, whichever door it comes through."""

import os
import pickle

import pytest
import torch
from torch import nn

from graphkd.checkpoint import RunCheckpointer, load_initial, load_weights
from graphkd.config import load_cfg
from graphkd.errors import UserError
from graphkd.modelfile import read_model


class Evil:
    """Leaves a mark beside the working folder when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("the_hostile_file_ran",)


def torch_file(path):
    torch.save({"model": Evil(), "classes": ["a"]}, path)


def torch_legacy_file(path):
    torch.save({"model": Evil()}, path, _use_new_zipfile_serialization=False)


def plain_pickle(path):
    path.write_bytes(pickle.dumps({"model": {"weight": Evil()}}))


WRITERS = [torch_file, torch_legacy_file, plain_pickle]


@pytest.fixture(autouse=True)
def marked_folder(tmp_path, monkeypatch):
    """Works in a folder of its own and looks for the mark at the end."""
    monkeypatch.chdir(tmp_path)
    yield
    assert not (tmp_path / "the_hostile_file_ran").exists()


def test_the_file_is_dangerous_indeed(tmp_path):
    plain_pickle(tmp_path / "evil.pth")
    with open(tmp_path / "evil.pth", "rb") as file:
        pickle.load(file)
    (tmp_path / "the_hostile_file_ran").rmdir()


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("ending", [".pth", ".pkl", ".pyth", ".pt"])
@pytest.mark.parametrize("load", [load_weights, load_initial])
def test_loading_refuses_and_names_the_key(tmp_path, write, ending, load):
    path = tmp_path / f"evil{ending}"
    write(path)
    with pytest.raises(UserError, match="can run any code; TRUST_PICKLES True reads") as caught:
        load(nn.Linear(2, 2), str(path))
    assert "\n" not in str(caught.value) and f"evil{ending}" in str(caught.value)


@pytest.mark.parametrize("write", WRITERS)
def test_reading_a_model_refuses_and_names_the_option(tmp_path, write):
    write(tmp_path / "evil.pth")
    with pytest.raises(UserError, match="more than tensors.*--trust reads it"):
        read_model(tmp_path / "evil.pth")
    write(tmp_path / "evil.pkl")
    with pytest.raises(UserError, match=".pth or .safetensors"):
        read_model(tmp_path / "evil.pkl")


@pytest.mark.parametrize("write", WRITERS)
def test_resuming_passes_it_over(tmp_path, write):
    write(tmp_path / "model_0000001.pth")
    (tmp_path / "last_checkpoint").write_text("model_0000001.pth")
    with pytest.raises(
        UserError, match="more than tensors.*find out where it comes from.*without --resume"
    ):
        RunCheckpointer(nn.Linear(2, 2), str(tmp_path), about={"classes": ["a"]}).resume()


def test_a_trusted_pickle_of_detectron2_is_read(tmp_path):
    """The kind its model zoo publishes: numpy arrays by name, in a pickle."""
    arrays = {"weight": torch.full((2, 2), 3.0).numpy(), "bias": torch.zeros(2).numpy()}
    path = tmp_path / "zoo.pkl"
    path.write_bytes(pickle.dumps({"model": arrays, "__author__": "somebody"}))
    for load in (load_weights, load_initial):
        model = nn.Linear(2, 2)
        with pytest.raises(UserError, match="TRUST_PICKLES"):
            load(model, str(path))
        load(model, str(path), trust=True)
        assert (model.weight == 3.0).all()


def test_a_trusted_file_is_read_whole(tmp_path):
    torch.save({"model": {"weight": torch.ones(2, 2)}, "when": nn.Identity()}, tmp_path / "a.pth")
    model = nn.Linear(2, 2, bias=False)
    with pytest.raises(UserError, match="more than tensors"):
        load_weights(model, tmp_path / "a.pth")
    load_weights(model, tmp_path / "a.pth", trust=True)
    assert (model.weight == 1.0).all()


def test_a_hostile_config_does_not_run(tmp_path):
    """Detectron2 itself falls back to yaml that makes any object."""
    path = tmp_path / "evil.yaml"
    path.write_text('OUTPUT_DIR: !!python/object/apply:os.mkdir ["the_hostile_file_ran"]\n')
    with pytest.raises(UserError, match="evil.yaml"):
        load_cfg(path)
    (tmp_path / "child.yaml").write_text("_BASE_: evil.yaml\n")
    with pytest.raises(UserError, match="child.yaml"):
        load_cfg(tmp_path / "child.yaml")
    torch.save({"model": {"a": torch.ones(1)}, "classes": ["a"]}, tmp_path / "a.pth")
    with pytest.raises(UserError, match="not a config"):
        read_model(tmp_path / "a.pth", config=path)
