#!/usr/bin/env bash
# The one door: makes the environment on first use, then runs the command line.
set -euo pipefail

caller=$PWD
home=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)
# Said in full, since some commands run in the project's folder and some in the caller's.
export DETECTRON2_DATASETS=$(realpath -m "${DETECTRON2_DATASETS:-$home/datasets}")
environment=$(realpath -m "${GRAPHKD_VENV:-$home/.venv}")
export GRAPHKD_COMMAND=./start_train.sh
# Everything that needs installing again when it changes.
stamp=$(cat "$home/requirements.lock" "$home/tools/install_detectron2.py" | sha256sum | cut -d' ' -f1)
light_stamp="light $(sha256sum <"$home/requirements-light.lock" | cut -d' ' -f1)"

usage() {
  cat <<'TEXT'
usage: start_train.sh COMMAND [ARGUMENTS]

  demo          generate pages, train a teacher, a plain and a distilled student, compare them
  test          run the test suite (further arguments go to pytest)
  train CONFIG  train a teacher, a plain student or a distilled student
  eval [CONFIG] COCO AP of a trained model (default: the newest run under output/)
  debugtrain CONFIG   a few iterations with batch 1
  predict INPUT -o OUT    regions of images, folders and PDFs
  ...           every other command of `graphkd`; `start_train.sh COMMAND --help` tells more

Files are named from the folder you stand in. Runs lie in the project's output/ unless you say where; configs/...
and output/... that are not in your folder are the project's.

The first call makes a Python environment in .venv (about 5 GB; for `predict` on ONNX models 400 MB, which a
later command completes); GRAPHKD_VENV names another place. An active environment that has what the
command needs is used as it is.

examples:
  ./start_train.sh demo
  ./start_train.sh train configs/R50-R18.yaml --with-teacher
  ./start_train.sh train configs/R50-R18.yaml SOLVER.IMS_PER_BATCH 4 --resume
TEXT
}

fail() {
  echo "start_train.sh: $1" >&2
  exit 2
}

has_what_is_needed() {
  [ -x "$1" ] && (cd "$home" && "$1" - "$part" >/dev/null 2>&1) <<'CODE'
import importlib.util, sys
needed = "numpy onnxruntime cv2 PIL pypdfium2 defusedxml filelock tqdm".split()
if sys.argv[1] == "full":
    needed += """torch torchvision timm detectron2 faster_coco_eval pycocotools reportlab safetensors jinja2 matplotlib
    scipy rich yaml fvcore iopath yacs omegaconf hydra cloudpickle tabulate termcolor tensorboard""".split()
missing = any(importlib.util.find_spec(name) is None for name in needed)
sys.exit(missing or not (3, 10) <= sys.version_info[:2] <= (3, 13))
CODE
}

find_base_python() {
  local candidate
  for candidate in python3.12 python3.11 python3.13 python3.10 python3 python; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
      base=$candidate
      return
    fi
  done
  fail "no Python 3.10 to 3.13 found; install one and try again"
}

make_environment() {
  local pip=("$environment/bin/python" -m pip --disable-pip-version-check)
  local lock=requirements.lock size="about 5 GB, a few minutes"
  [ "$part" = full ] || { lock=requirements-light.lock size="about 400 MB, a minute"; }
  find_base_python
  echo "start_train.sh: making the environment in $environment (once; $size)" >&2
  rm -f "$environment/graphkd.stamp"
  "$base" -m venv "$environment" || fail "$base cannot make an environment (Debian: install python3-venv)"
  "${pip[@]}" install --progress-bar on -r "$home/$lock" >&2 \
    || fail "installing $lock failed; see the lines above"
  if [ "$part" = light ]; then
    echo "$light_stamp" >"$environment/graphkd.stamp"
    return
  fi
  "$environment/bin/python" "$home/tools/install_detectron2.py" >&2 || fail "installing Detectron2 failed"
  "${pip[@]}" install --quiet --no-deps --no-build-isolation -e "$home" \
    || fail "installing graphkd failed; see the lines above"
  echo "$stamp" >"$environment/graphkd.stamp"
}

# Sets `python`: the active environment's, or that of the project's own environment.
choose_python() {
  local active=${VIRTUAL_ENV:-${CONDA_PREFIX:-}}
  python=$active/bin/python
  if [ -n "$active" ] && [ -z "${GRAPHKD_VENV:-}" ] && has_what_is_needed "$python"; then
    return
  fi
  python=$environment/bin/python
  if [ -n "${GRAPHKD_VENV:-}" ] && [ ! -e "$environment/graphkd.stamp" ] && has_what_is_needed "$python"; then
    return
  fi
  local found
  found=$(cat "$environment/graphkd.stamp" 2>/dev/null || true)
  [ -x "$python" ] || found=
  if [ "$found" != "$stamp" ] && { [ "$part" = full ] || [ "$found" != "$light_stamp" ]; }; then
    make_environment
  fi
}

case ${1:-} in
  "" | -h | --help | help)
    usage
    exit 0
    ;;
esac

# Gives VALUE as seen from the project's folder. What is written lies where the user stands; a file to
# read is the user's if it is there, else the project's. OPTION is the word before it.
from_home() { # OPTION VALUE
  local path=$2
  [[ -z $path || $path == /* ]] || path=$caller/$path
  case $1:$path in
    --o*:* | --j*:* | OUTPUT_DIR:*) ;; # argparse takes --out and --json shortened, too
    *WEIGHTS:* | *.yaml | *.yml) [ -e "$path" ] || path=$2 ;;
    *) path=$2 ;;
  esac
  printf '%s' "$path"
}

# Runs share one output/, and a teacher is looked for there, so what reads a run's yaml works in the
# project's folder. Every other command works where the user stands.
case "$1 ${2:-}" in
  train\ * | debugtrain\ * | eval\ * | demo\ * | compare\ * | "bench step" | "bench graph" | test\ *) place=$home ;;
  *) place=$caller ;;
esac
arguments=("$1")
before=
for argument in "${@:2}"; do
  if [ "$1" = test ]; then
    # Tests are the project's, whatever the user's folders are called.
    [ -e "$home/$argument" ] || [ ! -e "$caller/$argument" ] || argument=$caller/$argument
  elif [ "$place" = "$home" ] && [ ! "$caller" -ef "$home" ]; then
    case $argument in
      --*=*) argument=${argument%%=*}=$(from_home "${argument%%=*}" "${argument#*=}") ;;
      *) argument=$(from_home "$before" "$argument") ;;
    esac
  fi
  arguments+=("$argument")
  before=$argument
  [[ $argument != --*=* ]] || before= # its value came with it
done

# Which part of the installation the command needs: `predict` on ONNX models needs no PyTorch.
part=full
if [ "$1" = predict ]; then
  part=light
  for argument in "$@"; do
    case $argument in *.pth | *.safetensors) part=full ;; esac
  done
fi
choose_python
cd "$place"
# Python would take modules from the user's folder first; 3.10 knows no way to say no.
[ "$place" = "$home" ] || export PYTHONSAFEPATH=1
export PYTHONPATH=$home${PYTHONPATH:+:$PYTHONPATH}
if [ "$1" = test ]; then
  # One process a core, each with one thread. The cap keeps the memory of big machines in bounds.
  cores=$(env -u OMP_NUM_THREADS nproc) # nproc takes that variable for the number of cores
  export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
  spread=(-n "$((cores < 8 ? cores : 8))" --dist loadfile)
  for argument in "${arguments[@]:1}"; do
    case $argument in -n* | --numprocesses* | no:xdist) spread=() ;; esac
  done
  exec "$python" -m pytest "${spread[@]}" "${arguments[@]:1}"
fi
exec "$python" -m graphkd "${arguments[@]}"
