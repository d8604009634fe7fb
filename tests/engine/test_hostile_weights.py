"""A weights file that would run code does not get to by `graphkd train` and `graphkd eval`."""

import pytest

from graphkd import cli
from tests.test_hostile_weights import WRITERS, marked_folder  # noqa: F401  (looks at every test)


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("ending", [".pth", ".pkl"])
@pytest.mark.parametrize("door", ["MODEL.WEIGHTS", "DISTILL.TEACHER.WEIGHTS", "eval"])
def test_the_command_line_says_one_line(pair, tmp_path, capsys, door, ending, write):
    path = tmp_path / f"evil{ending}"
    write(path)
    overrides = ["OUTPUT_DIR", str(tmp_path / "run")]
    arguments = ["train", str(pair), *overrides, door, str(path)]
    if door == "MODEL.WEIGHTS":
        arguments.append("--plain")
    if door == "eval":
        arguments = ["eval", str(pair), *overrides, "MODEL.WEIGHTS", str(path)]
    assert cli.main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "TRUST_PICKLES" in line and f"evil{ending}" in line
