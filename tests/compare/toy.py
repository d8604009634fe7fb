"""A comparison of the toy task, whose trainings take a fraction of a second."""

from graphkd.compare.plan import Contest, contest_of

COMMON = """
TASK: "tests.toy_task:TASK"
TOY: {WIDTH: 4}
MODEL: {DEVICE: "cpu"}
DATASETS:
  TRAIN: ["toy_train"]
  VAL: ["toy_val"]
  TEST: ["toy_test"]
DATALOADER: {NUM_WORKERS: 0}
SOLVER: {MAX_ITER: 6, BASE_LR: 0.05, CHECKPOINT_PERIOD: 6, WARMUP_ITERS: 2, OPTIMIZER: "AdamW"}
LOG_PERIOD: 1
TEST: {EVAL_PERIOD: 0}
SEED: 1
"""


def write_pair(folder) -> str:
    """A run yaml in `folder` with the loss toy_maps; its teacher's beside it."""
    teacher = folder / "teacher.yaml"
    teacher.write_text(f'{COMMON}OUTPUT_DIR: "{folder}/teacher"\n')
    path = folder / "run.yaml"
    path.write_text(
        f'{COMMON}OUTPUT_DIR: "{folder}/run"\n'
        f'DISTILL: {{RAMP: 0, TEACHER: {{CONFIG: "{teacher}"}}, LOSSES: {{toy_maps: {{}}}}}}\n'
    )
    return str(path)


def contest(pair: str, out, *overrides: str, methods=("fitnets", "pkd")) -> Contest:
    """Such a comparison of two feature methods."""
    return contest_of([pair], list(overrides), methods=list(methods), out=out)
