"""The light installation: what it holds, what works in it, and what is said about the rest."""

import importlib.metadata
import re
import subprocess
import sys

import pytest

from graphkd.errors import UserError
from graphkd.packages import TRAINING, require_training
from tests.predict.files import pdf, picture

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = None

# An interpreter in which the packages of `graphkd[train]`, and what only they bring, are missing.
LIGHT = """
import sys
from importlib import util
from graphkd.packages import TRAINING
missing = {*TRAINING, "detectron2", "pandas", "layoutparser", "onnx", "openvino"}
for name in missing:
    sys.modules[name] = None
find_spec = util.find_spec
import graphkd.packages
graphkd.packages.find_spec = lambda name: None if name in missing else find_spec(name)
from graphkd.cli import main
"""


def run_light(code, *words):
    return subprocess.run(
        [sys.executable, "-c", LIGHT + code, *map(str, words)], capture_output=True, text=True
    )


def pinned(path):
    lines = path.read_text().splitlines()
    return {line for line in lines if line and not line.startswith("#")}


def project(root):
    if tomllib is None:
        pytest.skip("tomllib came with Python 3.11")
    return tomllib.loads((root / "pyproject.toml").read_text())["project"]


def names(requirements):
    return {re.match(r"[\w-]+", entry)[0].lower() for entry in requirements}


def test_the_list_is_that_of_pyproject(root):
    modules = importlib.metadata.packages_distributions()
    packages = {
        name.lower().replace("_", "-") for module in TRAINING for name in modules.get(module, ())
    }
    assert names(project(root)["optional-dependencies"]["train"]) <= packages


def test_the_light_lock_is_a_part_of_the_full_one(root):
    light, full = pinned(root / "requirements-light.lock"), pinned(root / "requirements.lock")
    # A marker may be narrower there, where other packages need it too.
    assert {line.split(" ;")[0] for line in light} <= {line.split(" ;")[0] for line in full}
    locked = {line.partition("==")[0] for line in light}
    assert names(project(root)["dependencies"]) <= locked
    assert not {"torch", "torchvision", "matplotlib", "scipy"} & locked


def test_prediction_works_in_the_light_part(tmp_path):
    page, book = picture(tmp_path / "a.png"), pdf(tmp_path / "b.pdf")
    code = "sys.exit(main(sys.argv[1:]))"
    options = ["-o", tmp_path / "out", "--draw", "--format", "json,coco,page", "--score", "0"]
    done = run_light(code, "predict", page, book, *options)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("4 pages, ")
    assert len(list((tmp_path / "out" / "pictures").iterdir())) == 4


def test_every_help_is_there_in_the_light_part():
    done = run_light(
        """
import contextlib, io, pkgutil, graphkd.commands
modules = pkgutil.iter_modules(graphkd.commands.__path__)
names = [module.name.replace("_", "-") for module in modules]
assert len(names) > 10
for words in [[], *([name] for name in names)]:
    with contextlib.redirect_stdout(io.StringIO()) as text:
        try:
            main([*words, "--help"])
        except SystemExit as end:
            assert end.code == 0
    assert "usage: " in text.getvalue()
"""
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("words", "what"),
    [("train configs/R50-R18.yaml", "this"), ("predict m.pth a.png -o out", "a .pth model")],
)
def test_other_commands_say_in_one_line_what_they_need(tmp_path, words, what):
    picture(tmp_path / "a.png")
    (tmp_path / "m.pth").touch()
    code = "import os; os.chdir(sys.argv[1]); sys.exit(main(sys.argv[2:]))"
    done = run_light(code, tmp_path, *words.split())
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert f"{what} needs graphkd[train]: run pip install '.[train]' in graphkd" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "m.pth"]


@pytest.mark.parametrize("name", ["onnxruntime", "tqdm", "pypdfium2"])
def test_a_missing_dependency_is_one_line_before_anything_is_written(tmp_path, name):
    page = picture(tmp_path / "a.png")
    code = "missing.add(sys.argv[1]); sys.exit(main(sys.argv[2:]))"
    done = run_light(code, name, "predict", page, "-o", tmp_path / "out")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert f"graphkd needs {name}: run pip install . in graphkd's folder" in done.stderr
    assert not (tmp_path / "out").exists()


def test_missing_packages_are_named(monkeypatch):
    missing = set()
    monkeypatch.setattr("graphkd.packages.find_spec", lambda name: None if name in missing else 1)
    require_training()
    missing.add("timm")
    with pytest.raises(UserError, match=r"this needs graphkd\[train\].*\(missing: timm\)"):
        require_training()
    missing.update(("rich", "yaml", "scipy", "torch"))
    with pytest.raises(UserError, match=r"missing: torch, timm, scipy and 2 more"):
        require_training()
    missing.clear()
    missing.add("detectron2")
    with pytest.raises(UserError, match="a model needs Detectron2: run .* install-detectron2"):
        require_training("a model")
