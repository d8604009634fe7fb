"""Files are written whole or not at all; a folder has one holder at a time, also one that moves."""

import errno
import logging
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context

import filelock
import pytest

from graphkd.errors import UserError
from graphkd.io import file_digest, held, lock_file, replacing, write_json, write_text


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr("graphkd.io._PATIENCE", 0.2)


def test_text_replaces_the_old_file_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "new" / "page.html"
    write_text(path, "old, and longer")
    write_text(path, "é")
    assert path.read_text(encoding="utf-8") == "é"
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"AP": 1.5})
    with pytest.raises(ValueError):
        write_json(path, {"AP": float("nan")})
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "\ud800")
    assert path.read_text() == '{\n "AP": 1.5\n}\n'
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_of_one_file_leave_one_of_the_two_contents(tmp_path):
    path = tmp_path / "a"
    with replacing(path, sync=True) as one, replacing(path) as other:
        one.write(b"one")
        other.write(b"the other")
    assert path.read_bytes() == b"one" and list(tmp_path.iterdir()) == [path]


def test_a_name_as_long_as_the_file_system_allows(tmp_path):
    path = tmp_path / ("x" * 255)
    write_text(path, "whole")
    assert path.read_text() == "whole"


def test_digest_is_that_of_the_content(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    assert file_digest(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_lock_lies_beside_its_folder_and_is_gone_afterwards(tmp_path):
    with held(tmp_path / "new" / "run"):
        assert [path.name for path in (tmp_path / "new").iterdir()] == ["run.lock"]
    assert not list((tmp_path / "new").iterdir())


def test_all_names_of_a_folder_have_one_lock(tmp_path, monkeypatch, impatient):
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to("run")
    monkeypatch.chdir(tmp_path / "run")
    assert lock_file(".") == lock_file(tmp_path / "link") == lock_file("../run")
    with (
        held(tmp_path / "link"),
        pytest.raises(UserError, match=r"^\.: another process works there"),
        held("."),
    ):
        pass


def test_a_held_folder_is_refused_by_name(tmp_path, impatient):
    with (
        held(tmp_path / "run"),
        pytest.raises(UserError, match="run: another process works there; wait for its end$"),
        held(tmp_path / "run"),
    ):
        pass


def test_a_killed_holder_frees_its_lock(tmp_path, impatient):
    text = "import sys\nfrom graphkd.io import held\nwith held(sys.argv[1]):\n"
    text += "    print(flush=True)\n    input()"
    process = subprocess.Popen(
        [sys.executable, "-c", text, str(tmp_path / "run")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    process.stdout.readline()
    with pytest.raises(UserError), held(tmp_path / "run"):
        pass
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert lock_file(tmp_path / "run").is_file()
    with held(tmp_path / "run"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_lock_that_is_freed_soon_is_waited_for(tmp_path):
    with ThreadPoolExecutor() as pool, held(tmp_path / "run"):
        other = pool.submit(_hold, tmp_path / "run")
        time.sleep(0.3)
        assert not other.done()
    assert other.result() == "held"


def test_on_request_a_lock_is_waited_for_without_limit(tmp_path, impatient):
    with ThreadPoolExecutor() as pool, held(tmp_path / "run"):
        other = pool.submit(_hold, tmp_path / "run", wait=True)
        time.sleep(0.6)
        assert not other.done()
    assert other.result() == "held"


def test_a_process_begun_meanwhile_does_not_keep_the_lock(tmp_path, impatient):
    """As the workers of a data loader, which may outlive the block."""
    with held(tmp_path / "run"):
        child = get_context("fork").Process(target=time.sleep, args=(20,))
        child.start()
        with pytest.raises(UserError), held(tmp_path / "run"):
            pass
    assert _hold(tmp_path / "run") == "held"
    child.kill()


def test_a_folder_that_is_moved_while_held_stays_held_under_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr("graphkd.io._PATIENCE", 20)
    run = tmp_path / "run"
    run.mkdir()
    with ThreadPoolExecutor() as pool:
        with held(run):
            second = pool.submit(_hold, run)
            run.rename(tmp_path / "old")
            time.sleep(0.3)
            assert not second.done()
            with held(tmp_path / "old"):
                pass
        assert second.result(timeout=30) == "held"


def test_whoever_waits_for_a_removed_lock_file_gets_the_new_one(tmp_path, monkeypatch):
    """Many short holders in turn: never two at a time."""
    monkeypatch.setattr("graphkd.io._PATIENCE", 20)
    inside, most = [], []

    def work():
        for _ in range(5):
            with held(tmp_path / "run"):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.01)
                inside.pop()

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(work) for _ in range(4)]:
            done.result()
    assert len(most) == 20 and max(most) == 1


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EACCES])
def test_a_file_system_without_locks_gets_a_warning(tmp_path, monkeypatch, caplog, number):
    def refuse(*_):
        raise OSError(number, "no locks")

    monkeypatch.setattr(logging.getLogger("graphkd"), "propagate", True)
    unix = sys.modules[filelock.UnixFileLock.__module__]
    monkeypatch.setattr(unix, "lock_fd_nonblocking", refuse)
    assert _hold(tmp_path / "run") == "held"
    assert "run cannot be locked" in caplog.text and "second process" in caplog.text


def _hold(folder, *, wait=False):
    with held(folder, wait=wait):
        return "held"
