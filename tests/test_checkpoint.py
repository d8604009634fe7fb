import logging
import os

import pytest
import torch
from torch import nn

from graphkd.checkpoint import RunCheckpointer, load_weights
from graphkd.errors import UserError

CLASSES = ["text", "figure"]


def saved(folder, value=1.0, name="model_0000001", classes=CLASSES, config=""):
    model = nn.Linear(2, 2)
    nn.init.constant_(model.weight, value)
    RunCheckpointer(model, str(folder), classes=classes, config="").save(name, iteration=1)
    return folder / f"{name}.pth"


def test_round_trip(tmp_path):
    path = saved(tmp_path)
    model = nn.Linear(2, 2)
    load_weights(model, path, classes=CLASSES, config="")
    assert (model.weight == 1.0).all()


def test_other_class_order_is_refused(tmp_path):
    with pytest.raises(UserError, match="trained on classes text, figure"):
        load_weights(nn.Linear(2, 2), saved(tmp_path), classes=["figure", "text"])


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        (nn.Linear(2, 3), "weight has shape"),
        (nn.Linear(2, 2, bias=False), "unexpected bias"),
        (nn.Sequential(nn.Linear(2, 2)), "missing 0.weight"),
    ],
)
def test_anything_but_a_complete_fit_is_refused(tmp_path, model, problem):
    with pytest.raises(UserError, match=problem):
        load_weights(model, saved(tmp_path))


def test_missing_and_damaged_files_are_named(tmp_path):
    with pytest.raises(UserError, match="no such weights file"):
        load_weights(nn.Linear(2, 2), tmp_path / "none.pth")
    (tmp_path / "bad.pth").write_bytes(b"not a checkpoint")
    with pytest.raises(UserError, match="bad.pth: not a readable checkpoint"):
        load_weights(nn.Linear(2, 2), tmp_path / "bad.pth")


class Evil:
    def __reduce__(self):
        return (os.system, ("touch hostile_pickle_ran",))


def test_a_hostile_pickle_does_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(UserError, match="not a readable checkpoint"):
        load_weights(nn.Linear(2, 2), tmp_path / "evil.pth")
    assert not (tmp_path / "hostile_pickle_ran").exists()


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(tmp_path, caplog):
    saved(tmp_path, 1.0, "model_0000001")
    newest = saved(tmp_path, 2.0, "model_0000002")
    newest.write_bytes(newest.read_bytes()[:100])
    model = nn.Linear(2, 2)
    logging.getLogger("graphkd").propagate = True
    with caplog.at_level(logging.WARNING):
        assert RunCheckpointer(model, str(tmp_path), classes=CLASSES, config="").resume()
    assert (model.weight == 1.0).all()
    assert "model_0000002.pth is damaged" in caplog.text


def test_resume_without_a_checkpoint_starts_anew(tmp_path):
    assert not RunCheckpointer(nn.Linear(2, 2), str(tmp_path), classes=CLASSES, config="").resume()


def test_only_damaged_checkpoints_are_an_error(tmp_path):
    (tmp_path / "model_0000001.pth").write_bytes(b"x")
    with pytest.raises(UserError, match="no checkpoint is readable"):
        RunCheckpointer(nn.Linear(2, 2), str(tmp_path), classes=CLASSES, config="").resume()


def test_a_failed_save_leaves_the_older_file_whole(tmp_path):
    path = saved(tmp_path, 1.0)
    before = path.read_bytes()
    checkpointer = RunCheckpointer(nn.Linear(2, 2), str(tmp_path), classes=CLASSES, config="")
    with pytest.raises(Exception, match="pickle|local"):
        checkpointer.save("model_0000001", broken=lambda: None)
    assert path.read_bytes() == before
    assert sorted(item.name for item in tmp_path.iterdir()) == ["last_checkpoint", path.name]
