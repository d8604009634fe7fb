"""Reading pages in one process or several; processes that end or take too long are replaced."""

import contextlib
import io
import multiprocessing
import resource
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import numpy as np

from graphkd import __version__
from graphkd.document import Page
from graphkd.errors import UserError, one_line
from graphkd.evaluation.page_text import scaled, score_page
from graphkd.formats import PAGE_FORMATS
from graphkd.formats.alto import read_alto_file
from graphkd.formats.page_reader import read_page_file
from graphkd.formats.xml import BadFile
from graphkd.io import replacing
from graphkd.predict.documents import Failure
from graphkd.predict.sources import PageRef, opened
from graphkd.read.reader import DPI, Options, Reader, load_models, summary
from graphkd.report.pictures import draw_reading

# A format with one picture a page; the others are in `PAGE_FORMATS`.
OVERLAY = "overlay"
_LOADING = 300  # seconds after which a process that loads its models counts as stuck


@dataclass(frozen=True)
class Job:
    """One page that is to be read.

    Attributes:
        ref: where the page is.
        name: of its files in the results, without ending.
        sha256: of the file it is in.
    """

    ref: PageRef
    name: str
    sha256: str

    @property
    def key(self) -> tuple[str, int]:
        """What tells pages of a log apart."""
        return self.ref.source, self.ref.number


@dataclass(frozen=True)
class Setup:
    """What a process needs to read pages.

    Attributes:
        out: the folder of the results.
        formats: names in `PAGE_FORMATS`, "overlay", "pdf".
        options: see `Options`.
        weights: see `load_models`.
        threads: of each model.
        truth: PAGE or ALTO file, or a folder with one for each page; None: nothing is scored.
    """

    out: Path
    formats: tuple[str, ...]
    options: Options = field(default_factory=Options)
    weights: Path | None = None
    threads: int | None = None
    truth: Path | None = None

    def said(self) -> dict[str, Any]:
        """What the results depend on besides the pages, for `--resume`."""
        said = {name: str(value) for name, value in vars(self.options).items()}
        said |= {"formats": list(self.formats)}
        return said | {"weights": str(self.weights), "truth": str(self.truth)}

    def files(self, name: str) -> dict[str, str]:
        """Format -> path in `out` of the file of a page."""
        forms = {each: PAGE_FORMATS[each] for each in self.formats if each in PAGE_FORMATS}
        files = {each: f"{form.folder}/{name}{form.ending}" for each, form in forms.items()}
        if OVERLAY in self.formats:
            files[OVERLAY] = f"{OVERLAY}/{name}.jpg"
        return files


def read_job(reader: Reader, job: Job, setup: Setup) -> dict[str, Any]:
    """Reads a page, writes its files, and gives its row of the log.

    Raises:
        UserError: the results cannot be written.
    """
    row = {"source": job.ref.source, "page": job.ref.number, "name": job.name}
    row |= {"sha256": job.sha256, "version": __version__, "status": "ok", "reason": None}
    start = time.perf_counter()
    try:
        options = setup.options
        with opened(job.ref, dpi=options.dpi or DPI, max_pixels=options.max_pixels) as raw:
            if isinstance(raw, Failure):
                return {**row, "status": "failed", "reason": raw.reason}
            drawn = 1000 * (time.perf_counter() - start)
            page, pixels, facts = reader.read(raw)
        facts.ms["draw"] = facts.ms.get("draw", 0.0) + drawn
        scores = _scores(reader, page, pixels, job, setup.truth)
        with facts.stage("write"):
            contents = {
                file: PAGE_FORMATS[each].text(page).encode()
                if each in PAGE_FORMATS
                else _overlay(pixels, page, reader.models.layout.classes)
                for each, file in setup.files(job.name).items()
            }
    except Exception as error:  # a page that breaks the reader does not end the run
        return {**row, "status": "failed", "reason": one_line(error)[:200]}
    with facts.stage("write"):
        try:
            for file, content in contents.items():
                (setup.out / file).parent.mkdir(parents=True, exist_ok=True)
                with replacing(setup.out / file) as stream:
                    stream.write(content)
        except OSError as error:
            raise UserError(f"{setup.out}: cannot be written ({one_line(error)})") from error
    return {
        **row,
        **summary(page),
        "notes": facts.notes,
        "files": {file: len(content) for file, content in contents.items()},
        **({"scores": scores} if scores else {}),
        "ms": {stage: round(value, 1) for stage, value in facts.ms.items()},
        "peak_mb": round(peak_mb(), 1),
    }


def _overlay(pixels: np.ndarray, page: Page, classes: Sequence[str]) -> bytes:
    content = io.BytesIO()
    picture = draw_reading(pixels, page, classes=classes)
    picture.save(content, "JPEG", quality=88, subsampling=0)  # thin lines keep their colour
    return content.getvalue()


def _scores(
    reader: Reader, page: Page, pixels: np.ndarray, job: Job, place: Path | None
) -> dict[str, Any] | None:
    """The counts of a page against its PAGE or ALTO file; None without one."""
    if place is None:
        return None
    file = place if place.is_file() else place / f"{job.name}.xml"
    if not file.is_file():
        return None
    try:
        truth = read_page_file(file)
    except BadFile:
        truth = read_alto_file(file)
    truth = scaled(truth, (page.width, page.height))
    again = reader.read_lines(list(truth.lines), pixels)
    return score_page(truth, page, document=job.ref.source, true_lines=again)


def peak_mb() -> float:
    """The greatest memory that this process has held, in MB."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def read_all(
    jobs: Iterable[Job], setup: Setup, *, workers: int = 1, timeout: float | None = None
) -> Iterator[dict[str, Any]]:
    """Rows of the log in the order of the jobs.

    With several workers or a time limit, pages are read in processes of their own. A process that
    ends, or takes longer than `timeout` seconds for a page, is replaced, and its page has failed.

    Raises:
        UserError: the results cannot be written, or the models cannot be loaded.
    """
    if workers == 1 and timeout is None:
        reader = Reader(load_models(setup.weights, threads=setup.threads), setup.options)
        for job in jobs:
            yield read_job(reader, job, setup)
        return
    pool = _Pool(setup, workers=workers, timeout=timeout)
    try:
        yield from pool.run(jobs)
    finally:
        pool.close()


class _Worker:
    """A process that reads one page at a time."""

    def __init__(self, setup: Setup):
        context = multiprocessing.get_context("spawn")  # a fork would share pdfium's state
        self.connection, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(other, setup), daemon=True)
        self.process.start()
        other.close()
        self.job: Job | None = None
        self.place = 0
        self.ready, self.since = False, time.monotonic()

    def give(self, place: int, job: Job) -> None:
        self.place, self.job, self.since = place, job, time.monotonic()
        with contextlib.suppress(OSError):  # the end of the process is noticed when it is asked
            self.connection.send(job)

    def close(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


class _Pool:
    """Workers, and the rows that wait for their turn."""

    def __init__(self, setup: Setup, *, workers: int, timeout: float | None):
        self._setup, self._timeout = setup, timeout
        self._workers = [_Worker(setup) for _ in range(workers)]

    def close(self) -> None:
        for worker in self._workers:
            worker.close()

    def run(self, jobs: Iterable[Job]) -> Iterator[dict[str, Any]]:
        left = deque(enumerate(jobs))
        done: dict[int, dict[str, Any]] = {}
        turn, count = 0, len(left)
        while turn < count:
            # A slow page must not let finished ones pile up.
            if left and left[0][0] < turn + 8 * len(self._workers):
                for worker in self._workers:
                    if worker.ready and worker.job is None and left:
                        worker.give(*left.popleft())
            for place, row in self._wait():
                done[place] = row
            while turn in done:
                yield done.pop(turn)
                turn += 1

    def _wait(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Rows that have come in, after waiting for at most half a second."""
        wait([worker.connection for worker in self._workers], timeout=0.5)
        for index, worker in enumerate(self._workers):
            try:
                while worker.connection.poll():
                    kind, value = worker.connection.recv()
                    if kind == "stop":
                        raise UserError(value)
                    if kind == "row":
                        yield worker.place, value
                    worker.ready, worker.job = True, None
            except (EOFError, OSError):
                yield from self._replace(index, "failed", "the process that read it ended")
                continue
            if not worker.ready and time.monotonic() - worker.since > _LOADING:
                raise UserError(f"the models were not loaded within {_LOADING} s")
            if self._timeout is not None and worker.job is not None:
                if time.monotonic() - worker.since > self._timeout:
                    yield from self._replace(index, "timeout", f"longer than {self._timeout:g} s")

    def _replace(self, index: int, status: str, reason: str) -> Iterator:
        worker = self._workers[index]
        worker.close()
        if not worker.ready:
            raise UserError("a process ended while it loaded the models; try a smaller --jobs")
        self._workers[index] = _Worker(self._setup)
        if worker.job is not None:
            job = worker.job
            row = {"source": job.ref.source, "page": job.ref.number, "name": job.name}
            yield worker.place, {**row, "status": status, "reason": reason}


def _serve(connection: Any, setup: Setup) -> None:
    """Answers jobs with rows until the other side closes."""
    try:
        reader = Reader(load_models(setup.weights, threads=setup.threads), setup.options)
        connection.send(("ready", None))
        while True:
            connection.send(("row", read_job(reader, connection.recv(), setup)))
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        return
    except Exception as error:
        connection.send(("stop", one_line(error)))
