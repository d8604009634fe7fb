#!/usr/bin/env bash
# What is to be measured on a machine with a GPU, in at most 9 minutes. Every part has a time limit of its own and
# leaves its numbers in OUT; a part that fails does not stop the others. OUT/summary.md has them all in one table.
set -uo pipefail
home=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

usage() {
  cat <<'TEXT'
usage: tools/gpu_check.sh [--out DIR] [--wheels DIR] [--parts A,B] [--tiny]

  --out DIR      folder of the results (default: $OUT, else output/gpu_check)
  --wheels DIR   wheels (Detectron2, graphkd, what else the machine lacks) to install into a temporary folder; the
                 machine's own environment stays as it is, and a graphkd on PYTHONPATH comes first
  --parts A,B    only these of: pages step_full step_graphkd step_dsig compare teacher plain distilled
                 format_float32 format_bfloat16 format_float16 nccl
  --tiny         a few steps of small models, on the CPU where there is no GPU: a test of this script

PYTHON names the interpreter (default: .venv/bin/python where there is one, else python3).
TEXT
}

out=${OUT:-$home/output/gpu_check} wheels='' wanted='' tiny=''
while [ $# -gt 0 ]; do
  case $1 in
    --out | --wheels | --parts)
      [ $# -ge 2 ] || { usage >&2 && exit 2; }
      declare "$(case $1 in --parts) echo wanted ;; *) echo "${1#--}" ;; esac)=$2"
      shift 2
      ;;
    --tiny) tiny=1 && shift ;;
    -h | --help) usage && exit 0 ;;
    *) usage >&2 && exit 2 ;;
  esac
done
mkdir -p "$out" && out=$(cd "$out" && pwd) || exit 2
# Weights and pages are large: they lie elsewhere, and only numbers and logs go to OUT.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python=${PYTHON:-$home/.venv/bin/python}
[ -n "${PYTHON:-}" ] || [ -x "$python" ] || python=python3
total=${GPU_CHECK_SECONDS:-525} # leaves room for the summary
export PYTHONPATH=${PYTHONPATH:-$home} DETECTRON2_DATASETS=${DETECTRON2_DATASETS:-$work/datasets}

# Runs a command within its own limit and the time that is left: part NAME LIMIT COMMAND...
part() {
  local name=$1 limit=$2 begin=$SECONDS left=$((total - SECONDS)) status=ok rc
  shift 2
  [ -z "$wanted" ] || [[ ,$wanted, == *",$name,"* ]] || return 0
  limit=$((limit < left ? limit : left))
  if [ "$limit" -lt 2 ]; then
    record "$name" skipped 0 "no time left"
    return 0
  fi
  timeout -k 10 "$limit" "$@" >"$out/$name.log" 2>&1
  rc=$?
  case $rc in
    0) ;;
    124 | 137) status="timed out" ;;
    *) status=failed ;;
  esac
  record "$name" "$status" $((SECONDS - begin)) "$([ $rc = 0 ] || tail -n 1 "$out/$name.log")"
}

record() { # NAME STATUS SECONDS REASON
  local reason
  reason=$(printf '%s' "$4" | tr -d '"\\' | tr -cd '[:print:]' | cut -c1-200)
  printf '{"part": "%s", "status": "%s", "seconds": %s, "reason": "%s"}\n' "$1" "$2" "$3" "$reason" >"$out/$1.status"
  echo "$(date +%T) $1: $2, $3 s${reason:+, $reason}"
}

if [ -n "$wheels" ]; then
  "$python" -m pip install --quiet --no-index --no-deps --target "$work/site" "$wheels"/*.whl >"$out/wheels.log" 2>&1 ||
    record wheels failed "$SECONDS" "see wheels.log"
  export PYTHONPATH=$PYTHONPATH:$work/site
fi
cd "$home" || exit 2
gpus=$(nvidia-smi -L 2>/dev/null | grep -c '^GPU')

run=("$python" -m graphkd)
config=configs/R50-R18.yaml teacher=configs/teachers/rcnn_R50_pages.yaml pair=configs/tiny/R18-MNv4s.yaml
device=cuda seeds=3 processes=3
bench=(--size 800 608 --batch 4 --steps 20)
# From scratch within minutes: AdamW and a cosine, as the small pairs have them.
short=(SOLVER.OPTIMIZER AdamW SOLVER.BASE_LR 0.0005 SOLVER.WEIGHT_DECAY 0.01 SOLVER.LR_SCHEDULER_NAME WarmupCosineLR
  SOLVER.WARMUP_ITERS 50 SOLVER.IMS_PER_BATCH 8 SOLVER.AMP.ENABLED True SOLVER.AMP.DTYPE native
  TEST.EVAL_PERIOD 0 DATALOADER.NUM_WORKERS 6)
teacher_length=(SOLVER.MAX_ITER 500) student_length=(SOLVER.MAX_ITER 400) compare_length=()
if [ -n "$tiny" ]; then
  config=${GPU_CHECK_CONFIG:-$pair} teacher=${GPU_CHECK_TEACHER:-configs/teachers/rcnn_tiny_R18_pages.yaml} pair=$config
  [ "$gpus" -gt 0 ] || device=cpu
  seeds=1 processes=1
  bench=(--size 96 64 --batch 1 --steps 1 --no-memory)
  short=(SOLVER.IMS_PER_BATCH 2 TEST.EVAL_PERIOD 0 DATALOADER.NUM_WORKERS 0)
  teacher_length=(SOLVER.MAX_ITER 2) student_length=(SOLVER.MAX_ITER 2)
  compare_length=("${short[@]}" "${student_length[@]}")
fi
where=(MODEL.DEVICE "$device")
distil=("${where[@]}" DISTILL.TEACHER.WEIGHTS "$work/teacher/model_final.pth")

format() { # NAME KEY VALUE...: the terms of the same few steps in one number format
  part "format_$1" 45 "${run[@]}" debugtrain "$config" --iterations 4 "${where[@]}" SOLVER.IMS_PER_BATCH 4 \
    OUTPUT_DIR "$work/$1" "${@:2}"
}

[ -n "$tiny" ] || part pages 60 "${run[@]}" pages make
# Steps are timed while nothing else runs.
for method in full graphkd dsig; do
  memory=() && [ "$method" = full ] || memory=(--no-memory)
  name=$method && [ "$method" != full ] || name=graphkd_full
  part "step_$method" 75 "${run[@]}" bench step "$config" --method "$name" "${bench[@]}" "${memory[@]}" \
    --json "$out/step_$method.json" "${where[@]}"
done
part compare 330 "${run[@]}" compare "$pair" --methods graphkd_full --seeds "$seeds" --processes "$processes" \
  --out "$work/compare" --json "$out/compare.json" "${where[@]}" "${compare_length[@]}" &
part teacher 150 "${run[@]}" train "$teacher" --json "$out/teacher.json" "${where[@]}" "${short[@]}" \
  "${teacher_length[@]}" OUTPUT_DIR "$work/teacher"
part plain 90 "${run[@]}" train "$config" --plain --json "$out/plain.json" "${where[@]}" "${short[@]}" \
  "${student_length[@]}" OUTPUT_DIR "$work/student"
part distilled 130 "${run[@]}" train "$config" --json "$out/distilled.json" "${distil[@]}" "${short[@]}" \
  "${student_length[@]}" OUTPUT_DIR "$work/distilled"
format float32 SOLVER.AMP.ENABLED False
format bfloat16 SOLVER.AMP.ENABLED True SOLVER.AMP.DTYPE bfloat16
if [ "$device" = cpu ]; then
  [ -n "$wanted" ] || record format_float16 skipped 0 "float16 needs a GPU"
else
  format float16 SOLVER.AMP.ENABLED True SOLVER.AMP.DTYPE float16
fi
if [ "$gpus" -ge 2 ]; then
  part nccl 60 "${run[@]}" train "$config" --plain --num-gpus 2 --json "$out/nccl.json" "${where[@]}" "${short[@]}" \
    SOLVER.MAX_ITER 20 OUTPUT_DIR "$work/nccl"
elif [ -z "$wanted" ]; then
  record nccl skipped 0 "this machine has $gpus GPUs"
fi
wait
for name in teacher student-plain distilled compare; do
  [ ! -f "$work/$name/metrics.json" ] || cp "$work/$name/metrics.json" "$out/$name.metrics.json"
done

"$python" - "$out" <<'CODE'
"""Gathers the parts' files into summary.json and summary.md."""

import json
import re
import sys
from pathlib import Path

out = Path(sys.argv[1])
parts = {}
for path in sorted(out.glob("*.status"), key=lambda path: path.stat().st_mtime):
    about = json.loads(path.read_text())
    try:
        about["numbers"] = json.loads((out / f"{about['part']}.json").read_text())
    except (OSError, ValueError):
        about["numbers"] = None
    parts[about["part"]] = about


def losses(name):
    """Mean of every loss over the printed steps; empty where the part did not run."""
    log = out / f"format_{name}.log"
    text = log.read_text() if log.is_file() else ""
    found = {}
    for key, value in re.findall(r"^\s+(loss_\S+|total_loss)\s+(\S+)$", text, re.M):
        found.setdefault(key, []).append(float(value))
    return {key: sum(values) / len(values) for key, values in found.items()}


exact = losses("float32")
for name in ("bfloat16", "float16"):
    other = losses(name)
    if exact and other:
        off = {key: abs(other[key] / exact[key] - 1) for key in exact if exact[key] and key in other}
        parts[f"format_{name}"]["numbers"] = off


def result(name, numbers):
    if not numbers:
        return ""
    if name.startswith("step_"):
        text = "plain {plain_s:.4f} s, teacher {teacher_s:.4f} s, distilled {distilled_s:.4f} s, overhead {overhead:.3f}"
        peak = numbers.get("peak_mb") or {}
        return text.format(**numbers) + (f", peak MiB {peak}" if peak else "")
    if name.startswith("format_"):
        worst = max(numbers, key=numbers.get)
        middle = sorted(numbers.values())[len(numbers) // 2]
        return f"losses against float32: median off by {middle:.1%}, most {worst} by {numbers[worst]:.1%}"
    if name == "compare":
        rows = numbers.get("rows", [])
        return ", ".join(f"{row.get('name')} {json.dumps(row.get('AP') or row.get('values'))}" for row in rows)
    return ", ".join(f"{key} {value}" for key, value in numbers.items() if key not in ("weights", "method"))


lines = ["| part | status | seconds | result |", "|---|---|---|---|"]
for name, about in parts.items():
    text = result(name, about["numbers"]) or about["reason"]
    lines.append(f"| {name} | {about['status']} | {about['seconds']} | {text} |")
(out / "summary.json").write_text(json.dumps(parts, indent=1))
(out / "summary.md").write_text("\n".join(lines) + "\n")
print("\n".join(lines))
sys.exit(any(about["status"] in ("failed", "timed out") for about in parts.values()))
CODE
