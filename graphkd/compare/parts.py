"""The single runs of a comparison: the folder of each, and training them one after the other or
several at a time, each with a GPU or a share of the cores.
"""

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
from graphkd.engine.build import build_trained
from graphkd.engine.hooks import ProgressBar
from graphkd.engine.run_dir import RunDir, inputs_of, validation_digest
from graphkd.engine.trainer import DivergedError
from graphkd.errors import UserError
from graphkd.io import write_json
from graphkd.report.curves import read_curves
from graphkd.tasks.base import Task, task_of

logger = logging.getLogger(__name__)

_VALIDATION = "validation.json"


@dataclass(frozen=True)
class Part:
    """One run of several that belong together, with a folder of its own.

    Attributes:
        name: what tables and the progress bar call it.
        cfg: its frozen config.
        source: the yaml it came from, for messages.
        teacher: weights that the result depends on; None for none.
        factor: of the weights of its losses.
        tested: False for a run of the search for weights: it is scored on the validation pages
            (DATASETS.VAL) only.
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
        """Where its weights and numbers are."""
        return Path(self.cfg.OUTPUT_DIR)

    @property
    def place(self) -> RunDir:
        """The same, with what is known of it."""
        return RunDir(self.folder)

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do."""
        return self.place.finished if self.tested else self.validation() is not None

    @property
    def kept(self) -> bool:
        """Whether the folder holds this very run, finished; nothing is moved."""
        known = self.teacher if self.teacher and self.teacher.is_file() else None
        inputs = inputs_of(self.cfg, teacher=known)
        return self.finished and not self.place.other_run(self.cfg, inputs)

    def claim(self) -> None:
        """Moves away what another config, teacher or data left in the folder.

        Raises:
            UserError: the teacher's weights are gone, or another process works in the folder.
        """
        self.place.keep_only(self.cfg, teacher=self.teacher)

    def train(self) -> None:
        """Trains and scores it; a finished one is left as it is, an interrupted one goes on.

        Raises:
            UserError: whatever `run.train` refuses.
        """
        self.claim()
        if self.finished:
            return
        options = {"source": self.source, "resume": True, "title": self.title}
        if self.tested:
            run.train(self.cfg, **options)
            return
        try:
            if not self.place.weights.is_file():
                run.train(self.cfg, **options, tested=False)
            scores, stopped = self._validated(), ""
        except DivergedError as error:
            # It is not tried again, since the same config would diverge again.
            scores, stopped = {}, " ".join(str(error).split())
        values = {**self._validation_of(), "scores": scores, "stopped": stopped}
        write_json(self.folder / _VALIDATION, values)

    def validation(self) -> dict | None:
        """What the search measured: "scores" on the validation pages by metric, and why the run was
        "stopped" or "". None where nothing was measured, or on other pages.
        """
        path = self.folder / _VALIDATION
        found = json.loads(path.read_text()) if path.is_file() else {}
        return found if found.items() >= self._validation_of().items() else None

    def _validation_of(self) -> dict:
        """What validation scores depend on besides the run itself; a stop depends on the steps that
        may be left out.
        """
        return {
            "digest": validation_digest(self.cfg),
            "SOLVER.SKIP_NONFINITE": self.cfg.SOLVER.SKIP_NONFINITE,
        }

    def _validated(self) -> dict[str, float | None]:
        """Validation scores by metric: those that the training measured at its end, if it did."""
        task, digest = task_of(self.cfg), validation_digest(self.cfg)
        log = self.folder / "metrics.json"
        last = read_curves(log)[-1] if log.is_file() else {}
        scores = {metric.name: last.get(f"eval/{metric.name}") for metric in task.metrics}
        at_end = last.get("iteration") == self.cfg.SOLVER.MAX_ITER - 1
        same_pages = self.place.about().get("validation") == digest
        if not (at_end and same_pages and scores[task.primary] is not None):
            return self._score(task)
        return scores

    def _score(self, task: Task) -> dict[str, float | None]:
        """As the curve is measured while training: without numbers fitted on the pages."""
        run.prepare(self.cfg)
        classes = task.classes(self.cfg, source=self.source)
        model, _ = build_trained(self.cfg, self.place.weights, classes=classes)
        found = task.evaluate(self.cfg, model, self.cfg.DATASETS.VAL[0], calibration={})
        return {metric.name: found.get(metric.name) for metric in task.metrics}


def train_parts(parts: Sequence[Part], *, processes: int = 1) -> Iterator[tuple[Part, str | None]]:
    """Trains and scores parts; a part is yielded at its end with the reason why it failed, if so.

    A run that diverges, breaks off or is killed fails alone; its log holds the traceback. Where a
    run is refused, or this process is stopped, the others save a checkpoint first.

    Args:
        parts: unfinished ones.
        processes: how many at a time. With 1 they are trained here. With more, process i of them
            uses the visible GPU i (modulo their number), or cores / processes threads.

    Raises:
        UserError: whatever `run.train` refuses.
    """
    if processes == 1:
        for part in parts:
            yield part, failure_of(part.train, part.title)
    else:
        yield from _train_apart(parts, processes)


def failure_of(work: Callable[[], None], title: str) -> str | None:
    """Does some work of a comparison; why it broke off, None where it did not.

    Raises:
        UserError: the work is refused.
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
    """What one of several processes has to itself.

    Attributes:
        row: of the terminal, for its progress bar.
        threads: of one operation.
        gpu: a word for CUDA_VISIBLE_DEVICES; None without GPUs.
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
    """What each of `processes` processes may use of this machine's GPUs and cores."""
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
    # With the child's end closed here, a child that dies without a word reads as end of file.
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
    # Ctrl-C reaches the waiting process alone, which then sends one signal: a second would end this
    # training without a checkpoint.
    os.setpgrp()
    if place.gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = place.gpu
    torch.set_num_threads(place.threads)
    tqdm.set_lock(lock)
    ProgressBar.row = place.row
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    try:
        task_of(part.cfg)  # a task from outside registers its data sets when it is imported
        answering.send(failure_of(part.train, part.title))
    except UserError as error:
        answering.send(UserError(str(error)))


def _stop_with_parent() -> None:
    """Ends this training, with a checkpoint, when the process that waits for it is gone."""
    connection.wait([parent_process().sentinel])
    os.kill(os.getpid(), signal.SIGTERM)


def _exit_on_term():
    """Lets SIGTERM unwind this process, so that its children are stopped; the handler before.

    None in a thread, where Python allows no handler.
    """
    if threading.current_thread() is not threading.main_thread():
        return None
    return signal.signal(signal.SIGTERM, _exit)


def _exit(number: int, _) -> None:
    raise SystemExit(128 + number)
