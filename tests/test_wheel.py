"""The way without a clone: the wheel in an environment of its own, used from an empty folder.

Other packages are those of the environment that runs the tests.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.own_data import write_coco

ROOT = Path(__file__).resolve().parents[1]


def call(*command: str | Path, folder: Path) -> str:
    """Runs a command without this clone in sight; gives what it printed."""
    hidden = ("PYTHONPATH", "GRAPHKD_HOME", "GRAPHKD_COMMAND", "DETECTRON2_DATASETS")
    env = {key: value for key, value in os.environ.items() if key not in hidden}
    done = subprocess.run([*map(str, command)], cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The `graphkd` of an environment that the wheel was installed into."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in ("graphkd", "configs"):
        shutil.copytree(ROOT / name, source / name, symlinks=True)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "-q")
    build = ("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source)
    call(*pip, *build, folder=folder)
    shutil.rmtree(source)
    call(sys.executable, "-m", "venv", "--without-pip", folder / "env", folder=folder)
    (wheel,) = folder.glob("*.whl")
    call(*pip, "--python", folder / "env", "install", "--no-deps", wheel, folder=folder)
    (site,) = folder.glob("env/lib/python3*/site-packages")
    # A plain line adds the folder alone, not the clone that a .pth file in it may name.
    (site / "others.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return folder / "env" / "bin" / "graphkd"


def test_all_configs_are_in_the_wheel(installed):
    (configs,) = installed.parents[1].glob("lib/python3*/site-packages/graphkd/configs")
    held = {path.relative_to(configs) for path in configs.rglob("*.yaml")}
    assert held == {
        path.relative_to(ROOT / "configs") for path in (ROOT / "configs").rglob("*.yaml")
    }


# One process for all, since loading torch takes longer than the work.
WORK = """
import sys
from graphkd.cli import main
from graphkd.data.catalog import add_own

for split, json_file in zip(("train", "val"), sys.argv[1:]):
    add_own(f"letters_{split}", json_file, "pages/images", text_classes=["text"])
small = ["MODEL.DEVICE", "cpu", "SOLVER.MAX_ITER", "1", "INPUT.MIN_SIZE_TRAIN", "(96,)"]
pair = ["tiny/R18-MNv4s", "--data", "letters"]
assert main(["debugtrain", *pair, "--iterations", "1", *small]) == 0
assert main(["train", *pair, "--plain", *small]) == 0
"""


def test_own_data_is_trained_from_an_empty_folder(installed, tmp_path):
    help_text = call(installed, "train", "R50-R18", "--help", folder=tmp_path)
    assert "  graphkd train configs/R50-R18.yaml --data prima" in help_text
    files = [write_coco(tmp_path / "pages", 4, first) for first in (0, 100)]
    printed = call(installed.with_name("python"), "-c", WORK, *files, folder=tmp_path)
    # The teacher's yaml is in the package, too, and learns the same two classes.
    assert "this check uses random ones" in printed and "loss_kd_graphkd_edges" in printed
    weights = "output/tiny/letters/R18-MNv4s-plain/model_final.pth"
    assert weights in printed and (tmp_path / weights).is_file()
