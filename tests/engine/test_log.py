"""Where log lines go."""

import logging

import pytest

from graphkd.engine.log import NAMES, open_log


@pytest.fixture
def loggers():
    """The loggers as they were, after the test."""
    before = {
        n: (list(logging.getLogger(n).handlers), logging.getLogger(n).propagate) for n in NAMES
    }
    yield
    for name, (handlers, propagate) in before.items():
        logging.getLogger(name).handlers = handlers
        logging.getLogger(name).propagate = propagate


@pytest.mark.parametrize("rank", [0, 1])
def test_a_warning_is_one_line_on_the_terminal_and_one_in_every_processs_file(
    tmp_path, monkeypatch, capsys, loggers, rank
):
    monkeypatch.setattr("detectron2.utils.comm.get_rank", lambda: rank)
    for number in range(2):  # the second run of a process closes the first one's file
        open_log(tmp_path / f"{number}.txt")
    logging.getLogger("graphkd.some.where").warning("look here")
    logging.getLogger("graphkd.some.where").info("no need to look")
    logging.getLogger("detectron2.some.where").warning("theirs")
    assert capsys.readouterr().err == ("WARNING: look here\n" if rank == 0 else "")
    assert (tmp_path / "0.txt").read_text() == ""
    lines = (tmp_path / "1.txt").read_text().splitlines()
    assert [line.split(": ")[-1] for line in lines] == ["look here", "no need to look", "theirs"]
