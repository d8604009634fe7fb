#!/usr/bin/env bash
# The one door: makes the environment on first use, then runs the command line.
set -euo pipefail

caller=$PWD
home=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)
export DETECTRON2_DATASETS=${DETECTRON2_DATASETS:-$home/datasets}
# Everything that needs installing again when it changes.
stamp=$(cat "$home/requirements.lock" "$home/tools/install_detectron2.py" | sha256sum | cut -d' ' -f1)

usage() {
  cat <<'TEXT'
usage: start_train.sh COMMAND [ARGUMENTS]

  demo          generate pages, train a teacher, a plain and a distilled student, compare them
  test          run the test suite (further arguments go to pytest)
  train CONFIG  train a teacher, a plain student or a distilled student
  eval [CONFIG] COCO AP of a trained model (default: the newest run under output/)
  debugtrain CONFIG   a few iterations with batch 1
  ...           every other command of `graphkd`; `start_train.sh COMMAND --help` tells more

The first call makes a Python environment in .venv (about 5 GB); GRAPHKD_VENV names another place. An
active environment that has graphkd's requirements and Detectron2 is used as it is.

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
  "$1" - >/dev/null 2>&1 <<'CODE'
import importlib.util as u, sys
needed = ["torch", "torchvision", "timm", "detectron2", "faster_coco_eval", "reportlab", "pypdfium2",
          "defusedxml", "jinja2", "cv2", "scipy", "rich"]
sys.exit(any(u.find_spec(name) is None for name in needed))
CODE
}

new_enough_python() {
  local candidate
  for candidate in python3.12 python3.11 python3.13 python3.10 python3 python; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  fail "no Python 3.10 to 3.13 found; install one and try again"
}

make_environment() {
  local folder=$1 base
  base=$(new_enough_python)
  echo "start_train.sh: making the environment in $folder (once, a few minutes)" >&2
  "$base" -m venv "$folder" || fail "$base has no venv module; install it (Debian: python3-venv)"
  "$folder/bin/python" -m pip install --disable-pip-version-check --quiet -r "$home/requirements.lock" \
    || fail "installing requirements.lock failed; see the lines above"
  "$folder/bin/python" "$home/tools/install_detectron2.py" >&2
  "$folder/bin/python" -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation \
    -e "$home" || fail "installing graphkd failed; see the lines above"
  echo "$stamp" >"$folder/graphkd.stamp"
}

find_python() {
  local active=${VIRTUAL_ENV:-${CONDA_PREFIX:-}}
  if [ -n "$active" ] && [ -z "${GRAPHKD_VENV:-}" ] && has_what_is_needed "$active/bin/python"; then
    echo "$active/bin/python"
    return
  fi
  local folder=${GRAPHKD_VENV:-$home/.venv}
  if [ "$(cat "$folder/graphkd.stamp" 2>/dev/null)" != "$stamp" ]; then
    make_environment "$folder"
  fi
  echo "$folder/bin/python"
}

case ${1:-} in
  "" | -h | --help | help)
    usage
    exit 0
    ;;
esac

# Commands run in the project's folder, so files named from the caller's folder get their full path.
arguments=()
for argument in "$@"; do
  if [ ! -e "$home/$argument" ] && [ -e "$caller/$argument" ]; then
    argument=$(realpath "$caller/$argument")
  fi
  arguments+=("$argument")
done

python=$(find_python)
cd "$home"
export PYTHONPATH=$home${PYTHONPATH:+:$PYTHONPATH}
if [ "$1" = test ]; then
  exec "$python" -m pytest "${arguments[@]:1}"
fi
exec "$python" -m graphkd "${arguments[@]}"
