"""The command line of the benchmarks."""

import pytest

from graphkd.cli import main


@pytest.mark.parametrize("action", ["step", "infer"])
def test_help_has_examples(action, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["bench", action, "--help"])
    assert stop.value.code == 0
    assert f"graphkd bench {action}" in capsys.readouterr().out.split("examples:")[1]


@pytest.mark.parametrize(
    "words",
    [
        ["step", "configs/none.yaml"],
        ["infer", "none.pth"],
    ],
)
def test_a_users_mistake_is_one_line_and_code_2(words, capsys):
    assert main(["bench", *words]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1 and "bench: " in error[0]


def test_a_wrong_list_is_named(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["bench", "infer", "m.pth", "--batch", "a,b"])
    assert stop.value.code == 2 and "no list of whole numbers" in capsys.readouterr().err
