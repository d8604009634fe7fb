"""A folder has one holder at a time, also one that is moved or made anew meanwhile."""

import fcntl
from concurrent.futures import ThreadPoolExecutor

import pytest

from graphkd.errors import UserError
from graphkd.locks import LOCK, held


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr("graphkd.locks._PATIENCE", 0.3)


def test_nothing_is_left_behind(tmp_path):
    with held(tmp_path / "new"):
        assert (tmp_path / "new" / LOCK).is_file()
    assert not list((tmp_path / "new").iterdir())


def test_the_lock_of_a_killed_holder_does_not_count(tmp_path):
    (tmp_path / LOCK).write_text("")
    with held(tmp_path):
        pass


def test_moving_a_held_folder_leaves_the_next_holder_alone(tmp_path):
    run = tmp_path / "run"
    first = held(run)
    first.__enter__()
    run.rename(tmp_path / "old")
    with held(run):
        first.__exit__(None, None, None)
        with pytest.raises(UserError, match="another process works there"), held(run):
            pass


def test_who_waits_for_a_folder_that_is_moved_gets_the_new_one(tmp_path, monkeypatch):
    monkeypatch.setattr("graphkd.locks._PATIENCE", 20)
    run = tmp_path / "run"
    first = held(run)
    first.__enter__()

    def wait():
        with held(run):
            return (run / LOCK).is_file()

    with ThreadPoolExecutor() as pool:
        second = pool.submit(wait)
        while not second.running():
            pass
        run.rename(tmp_path / "old")
        first.__exit__(None, None, None)
        assert second.result(timeout=30)


def test_a_file_in_the_place_of_the_folder_is_an_error(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(FileExistsError), held(tmp_path / "run"):
        pass


def test_what_cannot_be_removed_is_unlocked_all_the_same(tmp_path, monkeypatch):
    """A forked loader worker keeps the file open."""
    first = held(tmp_path)
    first.__enter__()
    with open(tmp_path / LOCK, "a") as other, monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.unlink", _refuse)
        first.__exit__(None, None, None)
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _refuse(*_, **__):
    raise PermissionError(13, "Permission denied")
