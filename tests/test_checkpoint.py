"""Checkpoints: complete loading, one-step writing, damage noticed; whole runs are elsewhere."""

import logging
import random

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from graphkd.checkpoint import RunCheckpointer, checkpoints_of, load_initial, load_weights
from graphkd.errors import UserError
from graphkd.weight_files import load_pickle

CLASSES = ["text", "figure"]


def checkpointer(model, folder):
    return RunCheckpointer(
        model, str(folder), about={"classes": CLASSES, "config": "", "task": "layout"}
    )


def saved(folder, value=1.0, name="model_0000001"):
    model = nn.Linear(2, 2)
    nn.init.constant_(model.weight, value)
    checkpointer(model, folder).save(name, iteration=1)
    return folder / f"{name}.pth"


@pytest.fixture
def warnings_of(caplog):
    """Text of this project's warnings so far, whatever handlers a run set before."""
    logging.getLogger("graphkd").propagate = True
    with caplog.at_level(logging.WARNING):
        yield lambda: caplog.text


def test_round_trip(tmp_path):
    model = nn.Linear(2, 2)
    load_weights(model, saved(tmp_path), classes=CLASSES)
    assert (model.weight == 1.0).all()


def test_safetensors_load_like_a_checkpoint(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"weight": torch.full((2, 2), 0.5).half(), "bias": torch.zeros(2)}, path)
    for load in (load_weights, load_initial):
        model = nn.Linear(2, 2)
        load(model, str(path))
        assert (model.weight == 0.5).all() and model.weight.dtype == torch.float32


def test_other_class_order_is_refused(tmp_path):
    with pytest.raises(UserError, match="trained on classes text, figure"):
        load_weights(nn.Linear(2, 2), saved(tmp_path), classes=["figure", "text"])


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        (nn.Linear(2, 3), "weight has shape"),
        (nn.Linear(2, 2, bias=False), "unexpected bias"),
        (nn.Sequential(nn.Linear(2, 2)), "missing 0.weight; .*unexpected weight and 1 more"),
    ],
)
def test_anything_but_a_complete_fit_is_refused(tmp_path, model, problem):
    with pytest.raises(UserError, match=problem):
        load_weights(model, saved(tmp_path))


def test_starting_weights_may_fit_in_part_but_not_in_nothing(tmp_path):
    model = nn.Linear(2, 2, bias=False)
    load_initial(model, str(saved(tmp_path)))
    assert (model.weight == 1.0).all()
    with pytest.raises(UserError, match="model_0000001.pth: not one of its tensors fits"):
        load_initial(nn.Conv2d(2, 2, 1, bias=False), str(saved(tmp_path)))


@pytest.mark.parametrize("load", [load_weights, load_initial])
def test_missing_and_damaged_files_are_named(tmp_path, load):
    with pytest.raises(UserError, match="no such weights file"):
        load(nn.Linear(2, 2), str(tmp_path / "none.pth"))
    (tmp_path / "bad.pth").write_bytes(b"not a checkpoint")
    with pytest.raises(UserError, match="bad.pth: not a readable checkpoint"):
        load(nn.Linear(2, 2), str(tmp_path / "bad.pth"))
    torch.save([torch.ones(1)], tmp_path / "list.pth")
    with pytest.raises(UserError, match="list.pth: it holds no weights by name"):
        load(nn.Linear(2, 2), str(tmp_path / "list.pth"))


def test_a_flipped_bit_is_noticed_or_harmless(tmp_path):
    """Torch reads a flipped bit as a weight; the check sums of the file tell."""
    path = saved(tmp_path, 1.0)
    good, noticed = path.read_bytes(), 0
    place = good.index(torch.ones(4).numpy().tobytes())
    draw = random.Random(0)
    for position in [place, *(draw.randrange(len(good)) for _ in range(150))]:
        bad = bytearray(good)
        bad[position] ^= 1 << draw.randrange(8)
        path.write_bytes(bad)
        try:
            stored = load_pickle(path, trust=False)
        except UserError as error:
            noticed += 1
            assert "\n" not in str(error)
            continue
        assert position != place
        assert (stored["model"]["weight"] == 1.0).all() and stored["classes"] == CLASSES
    assert noticed > 50


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(tmp_path, damage, warnings_of):
    saved(tmp_path, 1.0, "model_0000001")
    newest = saved(tmp_path, 2.0, "model_0000002")
    raw = bytearray(newest.read_bytes())
    raw[raw.index(torch.full((4,), 2.0).numpy().tobytes())] ^= 4
    newest.write_bytes({"cut": raw[: len(raw) // 2], "flip": raw, "empty": b""}[damage])
    model = nn.Linear(2, 2)
    assert checkpointer(model, tmp_path).resume()
    assert (model.weight == 1.0).all()
    assert "model_0000002.pth" in warnings_of() and "trying the one before" in warnings_of()


def test_the_newest_checkpoint_is_that_of_the_last_step(tmp_path):
    """Whatever the files' times say: copying a folder changes them."""
    for name, value in (("model_0000010", 2.0), ("model_0000009", 1.0)):
        saved(tmp_path, value, name)
    (tmp_path / "model_notes.pth").write_bytes(b"somebody's own file")
    model = nn.Linear(2, 2)
    assert checkpointer(model, tmp_path).resume() and (model.weight == 2.0).all()
    saved(tmp_path, 3.0, "model_final")
    assert [path.stem for path in checkpoints_of(tmp_path)][-1] == "model_final"


def test_resume_without_a_checkpoint_starts_anew(tmp_path):
    assert not checkpointer(nn.Linear(2, 2), tmp_path).resume()


def test_only_damaged_checkpoints_are_an_error(tmp_path):
    (tmp_path / "model_0000001.pth").write_bytes(b"x")
    with pytest.raises(UserError) as caught:
        checkpointer(nn.Linear(2, 2), tmp_path).resume()
    # First the file and what is wrong with it, then what to do.
    said = str(caught.value)
    assert said.startswith(str(tmp_path / "model_0000001.pth")) and "\n" not in said
    assert said.endswith("put back a copy of it, or train again without --resume")
    (tmp_path / "model_0000002.pth").write_bytes(b"x")
    with pytest.raises(UserError, match="model_0000002.pth.*nor can 1 older"):
        checkpointer(nn.Linear(2, 2), tmp_path).resume()


def test_a_failed_save_leaves_the_older_file_whole(tmp_path):
    path = saved(tmp_path, 1.0)
    before = path.read_bytes()
    with pytest.raises(Exception, match="pickle|local"):
        checkpointer(nn.Linear(2, 2), tmp_path).save("model_0000001", broken=lambda: None)
    assert path.read_bytes() == before
    assert sorted(item.name for item in tmp_path.iterdir()) == ["last_checkpoint", path.name]


def test_a_folder_that_is_gone_is_one_line(tmp_path):
    with pytest.raises(UserError, match="was not written .No such file"):
        checkpointer(nn.Linear(2, 2), tmp_path / "gone").save("model_0000001")
