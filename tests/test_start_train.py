"""Where start_train.sh runs a command and what it makes of the names of files."""

import os
import subprocess
from pathlib import Path

import pytest

HOME = Path(__file__).resolve().parents[1]
# Stands for an environment's Python: has every package, and tells where and with what it is run.
PYTHON = """#!/bin/sh
[ "$1" = - ] && exit 0
pwd
printf '%s\\n' "$@"
echo "safe=$PYTHONSAFEPATH datasets=$DETECTRON2_DATASETS"
"""


@pytest.fixture
def caller(tmp_path):
    """A folder elsewhere whose folders are called as those of the project."""
    folder = tmp_path / "my work"
    for name in ("configs", "tests", "docs", "scans", "output"):
        (folder / name).mkdir(parents=True)
    return folder


@pytest.fixture
def start(tmp_path):
    """Runs start_train.sh in a folder; gives the folder of the command and its arguments."""
    python = tmp_path / "env" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(PYTHON)
    python.chmod(0o755)
    inherited = {
        k: v for k, v in os.environ.items() if k not in ("DETECTRON2_DATASETS", "BASH_ENV")
    }
    env = {**inherited, "GRAPHKD_VENV": str(tmp_path / "env"), "PYTHONSAFEPATH": ""}

    def call(folder, *words, script=HOME / "start_train.sh"):
        done = subprocess.run(
            [str(script), *words], cwd=folder, env=env, capture_output=True, text=True, check=True
        )
        place, *arguments, tail = done.stdout.splitlines()
        assert arguments[:2] in (["-m", "graphkd"], ["-m", "pytest"])
        return Path(place), arguments[2:], tail

    return call


USERS = [
    "data convert voc v1 --out outv1",
    "data check my.json --images ./scans2 --fix mine --json rep.json",
    "data register mine --json my.json --images scans",
    "data list --json list.json",
    "robust s.pth --data my.json --images scans --json r.json -o r.md --pictures p.png",
    "bench infer s.pth --json b.json",
    "bench data pages_tiny_train",
    "predict docs tests -o found",
    "export s.pth --calibrate scans --pages docs -o s.onnx",
    "report output -o report.html",
    "graph page.png s.pth",
    "pages sheet --out sheet.png",
]


@pytest.mark.parametrize("line", USERS)
def test_commands_on_a_users_files_run_where_the_user_is(start, caller, line):
    place, arguments, tail = start(caller, *line.split())
    assert place == caller
    assert arguments == line.split()
    # A module of the user's folder is not taken for one of Python's.
    assert tail == f"safe=1 datasets={HOME}/datasets"


RUNS = [
    ("train configs/R50-R18.yaml --resume", "train configs/R50-R18.yaml --resume"),
    ("train configs/mine.yaml", "train {caller}/configs/mine.yaml"),
    ("train mine.yml --json r.json", "train {caller}/mine.yml --json {caller}/r.json"),
    ("eval MODEL.WEIGHTS s", "eval MODEL.WEIGHTS {caller}/s"),
    ("eval MODEL.WEIGHTS gone.pth --json=e", "eval MODEL.WEIGHTS gone.pth --json={caller}/e"),
    ("debugtrain a.yaml OUTPUT_DIR output", "debugtrain a.yaml OUTPUT_DIR {caller}/output"),
    ("train a.yaml SOLVER.GAMMA 0.1 SEED 1", "train a.yaml SOLVER.GAMMA 0.1 SEED 1"),
    (
        "compare mine.yml --out docs --js /c",
        "compare {caller}/mine.yml --out {caller}/docs --js /c",
    ),
    ("demo --out=configs", "demo --out={caller}/configs"),
    ("train mine.yml --json=r SEED 1", "train {caller}/mine.yml --json={caller}/r SEED 1"),
    ("compare --out=r a.yaml --seeds 2", "compare --out={caller}/r a.yaml --seeds 2"),
    ("bench step mine.yml --json b", "bench step {caller}/mine.yml --json {caller}/b"),
    ("bench graph --config mine.yml", "bench graph --config {caller}/mine.yml"),
]


@pytest.mark.parametrize(("line", "wanted"), RUNS)
def test_runs_lie_in_the_project_and_named_files_are_the_users(start, caller, line, wanted):
    for name in ("configs/mine.yaml", "mine.yml", "s", "0.1", "1"):
        (caller / name).touch()
    place, arguments, _ = start(caller, *line.split())
    assert place == HOME
    # The folder has a space in its name.
    assert arguments == [word.format(caller=caller) for word in wanted.split()]


def test_in_the_projects_own_folder_nothing_is_rewritten(start):
    words = ["train", "configs/R50-R18.yaml", "OUTPUT_DIR", "output/x", "--json", "r.json"]
    assert start(HOME, *words)[:2] == (HOME, words)


def test_empty_words_stay_empty(start, caller):
    words = ["train", "configs/R50-R18.yaml", "MODEL.WEIGHTS", "", "OUTPUT_DIR", ""]
    assert start(caller, *words)[1] == words


def test_tests_are_those_of_the_project(start, caller):
    (caller / "mine.py").touch()
    place, arguments, _ = start(caller, "test", "tests", "-q", "mine.py")
    assert (place, arguments[4:]) == (HOME, ["tests", "-q", f"{caller}/mine.py"])


def test_tests_take_all_cores_up_to_eight(start):
    cores = min(len(os.sched_getaffinity(0)), 8)
    assert start(HOME, "test")[1] == ["-n", str(cores), "--dist", "loadfile"]


@pytest.mark.parametrize("words", ["-n 3 -x", "-n3", "--numprocesses=1 tests", "-p no:xdist"])
def test_an_own_number_of_test_processes_is_kept(start, words):
    assert start(HOME, "test", *words.split())[1] == words.split()


def test_a_link_to_the_script_finds_its_project(start, caller):
    link = caller / "link.sh"
    link.symlink_to(HOME / "start_train.sh")
    assert start(caller, "train", "configs/R50-R18.yaml", script=link)[0] == HOME


# Stands for any Python of the system: makes environments that hold nothing at first.
BASE = """#!/bin/sh
[ "$1 $2" = "-m venv" ] || exit 0
mkdir -p "$3/bin"
cat >"$3/bin/python" <<'CODE'
#!/bin/sh
[ "$1" = - ] && exit 1
echo "$@" >>"$(dirname "$0")/calls"
CODE
chmod +x "$3/bin/python"
"""


@pytest.fixture
def fresh(tmp_path):
    """Runs start_train.sh with an environment of its own; gives what was installed in this call."""
    base, environment = tmp_path / "bin" / "python3.12", tmp_path / "made"
    base.parent.mkdir()
    base.write_text(BASE)
    base.chmod(0o755)
    env = {
        **{k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "CONDA_PREFIX")},
        "PATH": f"{base.parent}:{os.environ['PATH']}",
        "GRAPHKD_VENV": str(environment),
    }

    def call(*words):
        log = environment / "bin" / "calls"
        log.unlink(missing_ok=True)
        script = str(HOME / "start_train.sh")
        subprocess.run([script, *words], cwd=tmp_path, env=env, capture_output=True, check=True)
        calls = log.read_text().split()
        return [Path(word).name for word in calls if word.endswith((".lock", "detectron2.py"))]

    return call


def test_predict_makes_the_light_environment_and_training_completes_it(fresh):
    words = ["predict", "a.png", "-o", "x"]
    assert fresh(*words) == ["requirements-light.lock"]
    assert fresh(*words) == []
    assert fresh("train", "a.yaml") == ["requirements.lock", "install_detectron2.py"]
    assert fresh(*words) == fresh("demo") == []


@pytest.mark.parametrize("model", [["m.pth"], ["--weights=m.safetensors"]])
def test_models_that_need_torch_get_the_full_environment(fresh, model):
    words = ["predict", *model, "a.png", "-o", "x"]
    assert fresh(*words) == ["requirements.lock", "install_detectron2.py"]
