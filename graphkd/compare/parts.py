"""The single runs of a comparison, and training them one by one or in several processes."""

import json
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
from detectron2.config import CfgNode
from tqdm import tqdm

from graphkd.engine import run
from graphkd.engine.hooks import ProgressBar
from graphkd.engine.run_dir import RunDir, inputs_of, validation_digest
from graphkd.engine.trainer import DivergedError
from graphkd.errors import UserError
from graphkd.io import write_json
from graphkd.tasks.base import task_of

logger = logging.getLogger(__name__)

_VALIDATION = "validation.json"


@dataclass(frozen=True)
class Part:
    """One run of a comparison, in a folder of its own.

    Attributes:
        name: of the model in tables and progress bars.
        cfg: the frozen config.
        source: the yaml of the run, for messages.
        teacher: weights of its teacher; None for none.
        factor: the loss weights in `cfg` are the configured ones times this.
        tested: False for a run of the search for loss weights, which is scored on DATASETS.VAL
            only.
    """

    name: str
    cfg: CfgNode
    source: Path
    teacher: Path | None = None
    factor: float = 1.0
    tested: bool = True

    @property
    def title(self) -> str:
        """Name, factor and seed."""
        times = "" if self.factor == 1 else f" (weights x {self.factor:g})"
        return f"{self.name}{times}, seed {self.cfg.SEED}"

    @property
    def folder(self) -> Path:
        """OUTPUT_DIR."""
        return Path(self.cfg.OUTPUT_DIR)

    @property
    def place(self) -> RunDir:
        """The folder as an object."""
        return RunDir(self.folder)

    @property
    def finished(self) -> bool:
        """Whether the run was trained and scored."""
        return self.place.finished if self.tested else self.validation() is not None

    @property
    def kept(self) -> bool:
        """Whether the folder holds this run (not another one), and it is finished."""
        # A table can still be made after the teacher's file was deleted.
        known = self.teacher if self.teacher and self.teacher.is_file() else None
        inputs = inputs_of(self.cfg, teacher=known)
        return self.finished and not self.place.other_run(self.cfg, inputs)

    def claim(self) -> None:
        """Moves the folder away if it holds another run.

        Raises:
            UserError: the teacher's weights are missing, or another process uses the folder.
        """
        self.place.keep_only(self.cfg, teacher=self.teacher)

    def train(self) -> None:
        """Trains and scores the run, unless it is finished; an interrupted one is resumed.

        Raises:
            UserError: as `run.train`.
        """
        self.claim()
        if self.finished:
            return
        options = {"source": self.source, "resume": True, "title": self.title}
        if self.tested:
            run.train(self.cfg, **options)
            return
        try:
            scores, stopped = run.train(self.cfg, **options, tested=False).scores, ""
        except DivergedError as error:
            # Recorded, because the same config would diverge again.
            scores, stopped = {}, " ".join(str(error).split())
        found = {metric.name: scores.get(metric.name) for metric in task_of(self.cfg).metrics}
        values = {**self._validation_of(), "scores": found, "stopped": stopped}
        write_json(self.folder / _VALIDATION, values)

    def validation(self) -> dict | None:
        """The stored result on the validation set; None if there is none, or if it is of other
        annotations.

        Returns:
            A dict with "scores" (by metric) and "stopped" (why the run diverged, or "").
        """
        path = self.folder / _VALIDATION
        found = json.loads(path.read_text()) if path.is_file() else {}
        return found if found.items() >= self._validation_of().items() else None

    def _validation_of(self) -> dict:
        """What the validation result depends on, besides the run itself."""
        return {
            "digest": validation_digest(self.cfg),
            "SOLVER.SKIP_NONFINITE": self.cfg.SOLVER.SKIP_NONFINITE,
        }


def train_parts(parts: Sequence[Part], *, processes: int = 1) -> Iterator[tuple[Part, str | None]]:
    """Trains and scores parts, and yields each with the reason of its failure, or None.

    A run that diverges, breaks off or is killed does not affect the others; the traceback is in its
    log. If a run is refused or this process is stopped, the other runs save a checkpoint and stop.

    Args:
        parts: unfinished parts.
        processes: number of parts trained at a time. With 1, they are trained in this process. With
            more, process i uses the visible GPU i (modulo their number), or its share of the cores.

    Raises:
        UserError: as `run.train`.
    """
    if processes == 1:
        for part in parts:
            yield part, failure_of(part.train, part.title)
    else:
        yield from _train_apart(parts, processes)


def failure_of(work: Callable[[], None], title: str) -> str | None:
    """Calls `work` and returns why it failed; None if it did not.

    Raises:
        UserError: a mistake of the user, which concerns all runs.
    """
    try:
        work()
    except DivergedError as error:
        return " ".join(str(error).split())
    except UserError:
        raise
    except Exception as error:
        logger.exception("%s broke off", title)
        return " ".join(f"{type(error).__name__}: {error}".split())
    return None


@dataclass(frozen=True)
class _Place:
    """The resources of one of several processes.

    Attributes:
        row: line of the terminal for its progress bar.
        threads: number of threads.
        gpu: value of CUDA_VISIBLE_DEVICES; None without GPUs.
    """

    row: int
    threads: int
    gpu: str | None


@dataclass(frozen=True)
class _Worker:
    part: Part
    place: _Place
    process: BaseProcess
    answers: connection.Connection


def _train_apart(parts: Sequence[Part], processes: int) -> Iterator[tuple[Part, str | None]]:
    context = get_context("spawn")
    lock = context.RLock()
    waiting, free, busy = list(parts), places(processes), []
    earlier = _exit_on_term()
    try:
        while waiting or busy:
            while waiting and free:
                busy.append(_start(context, waiting.pop(0), free.pop(0), lock))
            ended = connection.wait([worker.process.sentinel for worker in busy])
            for worker in [each for each in busy if each.process.sentinel in ended]:
                worker.process.join()
                busy.remove(worker)
                free.append(worker.place)
                yield worker.part, _answer(worker)
    finally:
        for worker in busy:
            worker.process.terminate()
        for worker in busy:
            worker.process.join()
        if earlier is not None:
            signal.signal(signal.SIGTERM, earlier)


def places(processes: int) -> list[_Place]:
    """Shares GPUs and cores of this machine among `processes` processes."""
    gpus: list[str] = []
    if torch.cuda.is_available():
        named = os.environ.get("CUDA_VISIBLE_DEVICES")
        gpus = named.split(",") if named else [str(i) for i in range(torch.cuda.device_count())]
    threads = max(1, torch.get_num_threads() // processes)
    return [_Place(i, threads, gpus[i % len(gpus)] if gpus else None) for i in range(processes)]


def _start(context, part: Part, place: _Place, lock) -> _Worker:
    answers, answering = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(part, place, lock, answering))
    process.start()
    # Closed here, so that the death of the child is read as the end of the pipe.
    answering.close()
    return _Worker(part, place, process, answers)


def _answer(worker: _Worker) -> str | None:
    try:
        answer = worker.answers.recv()
    except EOFError:
        code = worker.process.exitcode
        ending = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"its process ended with {ending}; the same command goes on with it"
    if isinstance(answer, UserError):
        raise answer
    return answer


def _work(part: Part, place: _Place, lock, answering: connection.Connection) -> None:
    # In a group of its own, so that Ctrl-C reaches the parent only, which then sends one signal. A
    # second signal would end this training without a checkpoint.
    os.setpgrp()
    if place.gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = place.gpu
    torch.set_num_threads(place.threads)
    tqdm.set_lock(lock)
    ProgressBar.row = place.row
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    try:
        task_of(part.cfg)  # an outside task registers its data sets when it is imported
        answering.send(failure_of(part.train, part.title))
    except UserError as error:
        answering.send(UserError(str(error)))


def _stop_with_parent() -> None:
    """Stops this training, with a checkpoint, when the parent process ends."""
    connection.wait([parent_process().sentinel])
    os.kill(os.getpid(), signal.SIGTERM)


def _exit_on_term():
    """Makes SIGTERM raise SystemExit, so that the child processes are stopped.

    Returns:
        The handler before; None in a thread, where Python allows no handler.
    """
    if threading.current_thread() is not threading.main_thread():
        return None
    return signal.signal(signal.SIGTERM, _exit)


def _exit(number: int, _) -> None:
    raise SystemExit(128 + number)
