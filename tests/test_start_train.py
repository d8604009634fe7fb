"""Where start_train.sh runs a command, with which Python, and what it tells Python."""

import os
import subprocess
from pathlib import Path

import pytest

HOME = Path(__file__).resolve().parents[1]
# Stands for an environment's Python: has every package, and tells where and with what it is run.
PYTHON = """#!/bin/sh
[ "$2" = graphkd.packages ] && { echo "$3" >> "$(dirname "$0")/asked"; exit 0; }
pwd
printf '%s\\n' "$@"
echo "safe=$PYTHONSAFEPATH datasets=$DETECTRON2_DATASETS home=$GRAPHKD_HOME cmd=$GRAPHKD_COMMAND"
"""


def make_python(folder: Path, text: str = PYTHON) -> Path:
    """An environment whose Python is a script."""
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True)
    (folder / "lib" / "python3.11" / "site-packages").mkdir(parents=True)
    python.write_text(text)
    python.chmod(0o755)
    return python


@pytest.fixture
def caller(tmp_path):
    """A folder elsewhere whose folders are called as those of the project."""
    folder = tmp_path / "my work"
    for name in ("configs", "tests", "output"):
        (folder / name).mkdir(parents=True)
    return folder


@pytest.fixture
def start(tmp_path):
    """Runs start_train.sh in a folder; gives the folder of the command and its arguments."""
    make_python(tmp_path / "env")
    gone = ("DETECTRON2_DATASETS", "BASH_ENV", "VIRTUAL_ENV", "CONDA_PREFIX")
    inherited = {k: v for k, v in os.environ.items() if k not in gone}

    def call(folder, *words, script=HOME / "start_train.sh", **variables):
        env = {**inherited, "GRAPHKD_VENV": str(tmp_path / "env"), "PYTHONSAFEPATH": ""}
        done = subprocess.run(
            [str(script), *words],
            cwd=folder,
            env={**env, **variables},
            capture_output=True,
            text=True,
            check=True,
        )
        place, *arguments, tail = done.stdout.splitlines()
        assert arguments[:2] in (["-m", "graphkd"], ["-m", "pytest"])
        return Path(place), arguments[2:], tail

    return call


@pytest.mark.parametrize(
    "line",
    [
        "train configs/R50-R18.yaml --data prima OUTPUT_DIR output/x --json=r.json",
        "data check my.json --images ./scans2 --fix mine",
        "predict docs tests -o found",
        "eval",
    ],
)
def test_commands_run_where_the_user_is_and_know_the_project(start, caller, line):
    place, arguments, tail = start(caller, *line.split())
    assert (place, arguments) == (caller, line.split())
    # A module of the user's folder does not replace one of Python's.
    assert tail == (f"safe=1 datasets={HOME}/datasets home={HOME} cmd={HOME / 'start_train.sh'}")


def test_empty_words_stay_empty(start, caller):
    words = ["train", "configs/R50-R18.yaml", "MODEL.WEIGHTS", "", "OUTPUT_DIR", ""]
    assert start(caller, *words)[1] == words


def test_tests_run_in_the_project(start, caller):
    place, arguments, _ = start(caller, "test", "tests/test_cli.py", "-q")
    assert (place, arguments[4:]) == (HOME, ["tests/test_cli.py", "-q"])


def test_tests_take_all_cores_up_to_eight(start):
    cores = min(len(os.sched_getaffinity(0)), 8)
    assert start(HOME, "test")[1] == ["-n", str(cores), "--dist", "loadfile"]


@pytest.mark.parametrize("words", ["-n 3 -x", "-n3", "--numprocesses=1 tests", "-p no:xdist"])
def test_an_own_number_of_test_processes_is_kept(start, words):
    assert start(HOME, "test", *words.split())[1] == words.split()


def test_a_link_to_the_script_finds_its_project(start, caller):
    link = caller / "link.sh"
    link.symlink_to(HOME / "start_train.sh")
    assert f"home={HOME} cmd={link}" in start(caller, "train", "R50-R18", script=link)[2]


def test_an_environment_is_asked_again_after_an_installation_alone(start, caller, tmp_path):
    asked = tmp_path / "env" / "bin" / "asked"
    for words in (
        ["predict", "a.pdf"],
        ["predict", "b.pdf"],
        ["predict", "m.pth"],
        ["predict", "a"],
    ):
        start(caller, *words)
    # Pages need less than training, which a .pth stands for.
    assert asked.read_text().split() == ["light", "full"]
    later = (tmp_path / "env" / "graphkd.checked").stat().st_mtime + 5
    os.utime(tmp_path / "env" / "lib" / "python3.11" / "site-packages", (later, later))
    start(caller, "eval")
    assert asked.read_text().split() == ["light", "full", "full"]


def test_an_active_environment_whose_detectron2_does_not_work_is_named_and_left(caller, tmp_path):
    broken = '#!/bin/sh\n[ "$2" = graphkd.packages ] && { echo no LINEAR; exit 1; }\nexit 3\n'
    make_python(tmp_path / "broken", broken)
    # The project's own environment, complete: its stamp is that of its files.
    copy = tmp_path / "clone"
    locks = ("requirements.lock", "requirements-light.lock")
    for name in ("start_train.sh", *locks, "graphkd/commands/install_detectron2.py"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes((HOME / name).read_bytes())
    (copy / "start_train.sh").chmod(0o755)
    make_python(copy / ".venv")
    files = "requirements.lock graphkd/commands/install_detectron2.py"
    stamp = subprocess.run(
        f"cat {files} | sha256sum | cut -d' ' -f1", shell=True, cwd=copy, capture_output=True
    )
    (copy / ".venv" / "graphkd.stamp").write_bytes(stamp.stdout)
    env = {k: v for k, v in os.environ.items() if k not in ("GRAPHKD_VENV", "CONDA_PREFIX")}
    done = subprocess.run(
        [str(copy / "start_train.sh"), "eval"],
        cwd=caller,
        env={**env, "VIRTUAL_ENV": str(tmp_path / "broken")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "eval" in done.stdout.splitlines()
    assert done.stderr == f"start_train.sh: not using {tmp_path / 'broken'}: no LINEAR\n"


# Stands for any Python of the system: makes environments that hold nothing at first.
BASE = """#!/bin/sh
[ "$1 $2" = "-m venv" ] || exit 0
mkdir -p "$3/bin"
cat >"$3/bin/python" <<'CODE'
#!/bin/sh
[ "$2" = graphkd.packages ] && exit 1
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
        return [Path(word).name for word in calls if word.endswith((".lock", "detectron2"))]

    return call


@pytest.mark.parametrize("command", ["predict", "read"])
def test_the_light_environment_is_made_and_training_completes_it(fresh, command):
    words = [command, "a.png", "-o", "x"]
    assert fresh(*words) == ["requirements-light.lock"]
    assert fresh(*words) == []
    assert fresh("train", "a.yaml") == ["requirements.lock", "install-detectron2"]
    assert fresh(*words) == fresh("demo") == []


@pytest.mark.parametrize("model", [["m.pth"], ["--weights=m.safetensors"]])
def test_models_that_need_torch_get_the_full_environment(fresh, model):
    words = ["predict", *model, "a.png", "-o", "x"]
    assert fresh(*words) == ["requirements.lock", "install-detectron2"]
