import argparse
import pkgutil
import subprocess
import sys

import pytest

import graphkd.commands
from graphkd import cli
from graphkd.cli import main, parse
from graphkd.errors import COMMAND

COMMANDS = [info.name.replace("_", "-") for info in pkgutil.iter_modules(graphkd.commands.__path__)]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_examples(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert f"  {COMMAND} {command}" in capsys.readouterr().out.split("examples:")[1]


def all_parsers(parser):
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                yield from all_parsers(sub)


def test_help_says_the_command_that_the_user_typed(monkeypatch):
    monkeypatch.setattr(cli, "COMMAND", "../start_train.sh")
    pages = [parser.format_help() for parser in all_parsers(cli.build_parser())]
    assert len(pages) > len(COMMANDS)
    for text in pages:
        assert "graphkd " not in text.split("examples:")[-1], text
        assert text.startswith("usage: ../start_train.sh")
    assert "  ../start_train.sh bench infer" in "".join(pages)


def test_messages_say_the_command_that_the_user_typed(monkeypatch, capsys):
    monkeypatch.setattr(cli, "COMMAND", "../start_train.sh")
    assert main(["data", "check", "no_such_data"]) == 2
    assert "`../start_train.sh data" in capsys.readouterr().err


def test_help_is_quick_and_loads_no_torch():
    code = """
import sys
from graphkd.cli import build_parser
build_parser()
sys.exit("torch" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_users_mistake_is_one_line_and_code_2(capsys):
    assert main(["train", "configs/none.yaml"]) == 2
    error = capsys.readouterr().err
    assert error == f"{COMMAND} train: configs/none.yaml: no such config file\n"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["SOLVER.NO_SUCH", "1"], "SOLVER.NO_SUCH|NO_SUCH"),
        (["SOLVER.MAX_ITER", "many"], "many|type"),
        (["DISTILL.LOSSES.graphkd.WEIHGT", "1"], "WEIHGT"),
        (["MODEL.ROI_HEADS.NUM_CLASSES", "7"], "set NUM_CLASSES to 5"),
        (["DATASETS.TRAIN", "('pages_tiny_trian',)"], "pages_tiny_train"),
    ],
)
def test_wrong_overrides_are_named(overrides, message, root, tmp_path, capsys):
    import re

    config = str(root / "configs/tiny/R18-MNv4s.yaml")
    out = ["OUTPUT_DIR", str(tmp_path / "run")]
    assert main(["debugtrain", config, *overrides, *out]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert error.count("\n") == 1


def test_a_teacher_without_weights_names_the_command(root, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", str(root / "configs/tiny/R18-MNv4s.yaml")]) == 2
    error = capsys.readouterr().err
    assert f"{COMMAND} train configs/teachers/rcnn_tiny_R18_pages.yaml" in error
    assert "--with-teacher" in error


def test_eval_without_a_run_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["eval"]) == 2
    assert "no finished run under output/" in capsys.readouterr().err


def test_unknown_options_are_refused(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["train", "x.yaml", "--no-such-option"])
    assert stop.value.code == 2
    assert "--no-such-option" in capsys.readouterr().err


def test_a_negative_value_may_stand_after_options():
    args = parse(["train", "run.yaml", "--plain", "SEED", "-1", "SOLVER.GAMMA", "-1.5e-3"])
    assert args.plain and args.overrides == ["SEED", "-1", "SOLVER.GAMMA", "-1.5e-3"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("MODEL.DEVICE", "sundial"),
        ("SOLVER.AMP.DTYPE", "int8"),
        ("SOLVER.OPTIMIZER", "Lion"),
        ("SOLVER.LR_SCHEDULER_NAME", "Constant"),
        ("SOLVER.MAX_ITER", "0"),
        ("SOLVER.IMS_PER_BATCH", "0"),
        ("SOLVER.CHECKPOINT_PERIOD", "0"),
        ("LOG_PERIOD", "0"),
    ],
)
@pytest.mark.parametrize("command", ["train", "debugtrain", "compare", "bench step"])
def test_settings_that_cannot_start_are_refused_before_a_folder_is_touched(
    command, key, value, root, tmp_path, capsys
):
    config, out = str(root / "configs/tiny/R18-MNv4s.yaml"), tmp_path / "run"
    where = ["--out", str(out)] if command == "compare" else ["OUTPUT_DIR", str(out)]
    assert main([*command.split(), config, key, value, *where]) == 2
    error = capsys.readouterr().err
    assert value in error and error.count("\n") == 1
    assert not out.exists()


def test_a_named_command_imports_no_other():
    code = (
        "import sys; from graphkd.cli import parse; parse(['eval', 'run']); "
        "print([m for m in sys.modules if m.startswith('graphkd.commands.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['graphkd.commands.eval']"
