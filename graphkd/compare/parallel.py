"""Trains parts one after the other, or several at a time in processes of their own, each with a GPU
or a share of the cores; what the parts are is decided elsewhere.
"""

import logging
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from multiprocessing.process import BaseProcess

import torch
from tqdm import tqdm

from graphkd.compare.parts import Part, train_part
from graphkd.engine.hooks import ProgressBar
from graphkd.engine.trainer import DivergedError
from graphkd.errors import UserError

logger = logging.getLogger(__name__)


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
            yield part, _failure(part)
    else:
        yield from _train_apart(parts, processes)


def _failure(part: Part) -> str | None:
    """Trains a part; why it broke off, None where it did not."""
    try:
        train_part(part)
    except DivergedError as error:
        return " ".join(str(error).split())
    except UserError:
        raise
    except Exception as error:
        logger.exception("%s broke off", part.title)
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
        kind, text = worker.answers.recv()
    except EOFError:
        code = worker.process.exitcode
        ending = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"its process ended with {ending}; the same command goes on with it"
    if kind == "refused":
        raise UserError(text)
    return text


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
        answering.send(("done", _failure(part)))
    except UserError as error:
        answering.send(("refused", str(error)))


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
