#!/usr/bin/env bash
# Makes the Python environment on first use, then runs the command line in it.
set -euo pipefail

home=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)
# Python finds configs/ and output/ in the project's folder; all else is named from where the user stands.
export GRAPHKD_HOME=$home GRAPHKD_COMMAND=$0
export DETECTRON2_DATASETS=$(realpath -m "${DETECTRON2_DATASETS:-$home/datasets}")
export PYTHONPATH=$home${PYTHONPATH:+:$PYTHONPATH}
# Python would take modules from the user's folder first; 3.10 knows no way to say no.
export PYTHONSAFEPATH=1
environment=$(realpath -m "${GRAPHKD_VENV:-$home/.venv}")
# Everything that needs installing again when it changes.
stamp=$(cat "$home/requirements.lock" "$home/graphkd/commands/install_detectron2.py" | sha256sum | cut -d' ' -f1)
light_stamp="light $(sha256sum <"$home/requirements-light.lock" | cut -d' ' -f1)"

usage() {
  cat <<TEXT
usage: $0 COMMAND [ARGUMENTS]

  demo                    generate pages, train a teacher, a plain and a distilled student, compare them
  test                    run the test suite (further arguments go to pytest)
  train CONFIG            train a teacher, a plain student or a distilled student
  eval [RUN]              scores of a trained model (default: the newest run under output/)
  debugtrain CONFIG       a few iterations with batch 1
  read INPUT -o OUT       text of images, folders and PDFs, with layout and reading order
  predict INPUT -o OUT    regions of images, folders and PDFs
  ...                     every other command of \`graphkd\`; $0 COMMAND --help tells more

Files are named from the folder you stand in. Runs lie in the project's output/ unless you say where; configs/...
and output/... that are not in your folder are the project's.

The first call makes a Python environment in .venv (about 5 GB; for \`read\`, and \`predict\` on ONNX models, 400 MB, which a
later command completes); GRAPHKD_VENV names another place. An active environment that has what the
command needs is used as it is.

examples:
  $0 demo
  $0 train configs/R50-R18.yaml --data prima --with-teacher
  $0 train configs/R50-R18.yaml SOLVER.IMS_PER_BATCH 4 --resume
TEXT
}

fail() {
  echo "start_train.sh: $1" >&2
  exit 2
}

# Whether an environment that this script did not make has what the command needs. Importing
# Detectron2 takes seconds, so a yes counts until a package is installed there.
has_what_is_needed() { # FOLDER
  local yes=$1/graphkd.checked answer
  [ -x "$1/bin/python" ] || return 1
  case $(cat "$yes" 2>/dev/null) in
    "full $stamp" | "$part $stamp") [ -n "$(find "$1"/lib/python3*/site-packages -prune -newer "$yes")" ] || return 0 ;;
  esac
  if answer=$(cd "$home" && "$1/bin/python" -m graphkd.packages "$part" 2>/dev/null); then
    { echo "$part $stamp" >"$yes"; } 2>/dev/null || true
    return
  fi
  [ -z "$answer" ] || echo "start_train.sh: not using $1: $answer" >&2
  return 1
}

find_base_python() {
  local candidate
  for candidate in python3.12 python3.11 python3.13 python3.10 python3.14 python3 python; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null; then
      base=$candidate
      return
    fi
  done
  fail "no Python 3.10 to 3.14 found; install one and try again"
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
  "$environment/bin/python" -m graphkd install-detectron2 >&2 || fail "installing Detectron2 failed"
  "${pip[@]}" install --quiet --no-deps --no-build-isolation -e "$home" \
    || fail "installing graphkd failed; see the lines above"
  echo "$stamp" >"$environment/graphkd.stamp"
}

# Sets `python`: the active environment's, or that of the project's own environment.
choose_python() {
  local active=${VIRTUAL_ENV:-${CONDA_PREFIX:-}}
  python=$active/bin/python
  if [ -n "$active" ] && [ -z "${GRAPHKD_VENV:-}" ] && has_what_is_needed "$active"; then
    return
  fi
  python=$environment/bin/python
  if [ -n "${GRAPHKD_VENV:-}" ] && [ ! -e "$environment/graphkd.stamp" ] && has_what_is_needed "$environment"; then
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

# Which part of the installation the command needs: ONNX models need no PyTorch.
part=full
if [ "$1" = predict ] || [ "$1" = read ]; then
  part=light
  for argument in "$@"; do
    case $argument in *.pth | *.safetensors) part=full ;; esac
  done
fi
choose_python
if [ "$1" = test ]; then
  cd "$home"
  # One process a core, each with one thread. The cap keeps the memory of big machines in bounds.
  cores=$(env -u OMP_NUM_THREADS nproc) # nproc takes that variable for the number of cores
  export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
  spread=(-n "$((cores < 8 ? cores : 8))" --dist loadfile)
  for argument in "${@:2}"; do
    case $argument in -n* | --numprocesses* | no:xdist) spread=() ;; esac
  done
  exec "$python" -m pytest "${spread[@]}" "${@:2}"
fi
exec "$python" -m graphkd "$@"
