"""A run of `graphkd read`: its pages and files, the log, going on with a run, time and scores."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from graphkd import __version__
from graphkd.errors import UserError
from graphkd.evaluation.page_text import by_document, table, totals
from graphkd.formats import PAGE_FORMATS
from graphkd.io import file_digest, replacing, write_json, write_text
from graphkd.predict.documents import Failure, PageRanges
from graphkd.predict.folder import WRITTEN, Kind, Names, Results
from graphkd.predict.sources import list_pages
from graphkd.read.workers import Job, Setup, read_all

LOG, SCORES = "read.jsonl", "eval.json"
KIND = Kind(
    "read.json",
    files=(LOG, SCORES),
    folders={form.folder: form.ending for form in PAGE_FORMATS.values()},
)


def formats_in(text: str) -> tuple[str, ...]:
    """The formats of a list with commas.

    Raises:
        UserError: an unknown name.
    """
    formats = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    unknown = [part for part in formats if part not in PAGE_FORMATS]
    if unknown:
        raise UserError(f"--format {unknown[0]!r}: choose from {', '.join(PAGE_FORMATS)}")
    return formats


def list_jobs(
    files: Iterable[Path],
    *,
    wanted: PageRanges | None = None,
    ask: Callable[[str], str | None],
) -> tuple[list[Job], list[Failure]]:
    """The pages of files, with the names of their results, and the files without pages."""
    jobs, failures, names = [], [], Names()
    for path in files:
        refs = list_pages(path, wanted=wanted, ask=ask)
        if isinstance(refs, Failure):
            failures.append(refs)
            continue
        digest = file_digest(path)
        jobs += [Job(ref, names.take(ref.source, ref.number, ref.pages), digest) for ref in refs]
    return jobs, failures


class Run:
    """One run.

    Args:
        setup: what the processes need.
        jobs: all pages.
        resume: keep the pages of an earlier run that are whole and would be the same.

    Attributes:
        results: the folder.
        log: `read.jsonl`.
    """

    def __init__(self, setup: Setup, jobs: Sequence[Job], *, resume: bool = False):
        self._setup, self._jobs = setup, jobs
        self.log = Log(setup.out, setup.said())
        self._done = self.log.finished(jobs, setup.out) if resume else {}
        written = setup.out / WRITTEN
        earlier = written.read_text(encoding="utf-8").splitlines() if written.is_file() else []
        self.results = Results(
            setup.out, KIND, files=KIND.files, record=setup.said(), again="--resume"
        )
        files = [file for job in jobs for file in setup.files(job.name).values()]
        files += [file for file, _ in self._joined()]
        with self.results.explained():
            self.results.announce(dict.fromkeys([*earlier, *files]))

    def rows(self, *, workers: int, timeout: float | None) -> Iterator[dict[str, Any]]:
        """The rows of the log in the order of the pages, as they are read."""
        left = [job for job in self._jobs if job.key not in self._done]
        new = read_all(left, self._setup, workers=workers, timeout=timeout) if left else iter(())
        for job in self._jobs:
            row = self._done.get(job.key) or next(new)
            with self.results.explained():
                self.log.add(row)
            if row["status"] in ("ok", "skipped"):
                self.results.pages += 1
                self.results.regions += row["regions"]
                self.results.lines += row["lines"]
            yield row

    def close(self, *, finished: bool) -> None:
        """Joins the files of documents and writes log and record."""
        with self.results.explained():
            if finished:
                self.log.close()
                for file, parts in self._joined():
                    self._join(file, parts)
        self.results.close(finished=finished)

    def evaluation(self) -> str:
        """Scores of all pages that have a truth, as a table; `eval.json` also has each document.

        Raises:
            UserError: no page has one.
        """
        rows = [row["scores"] for row in self.log.rows if "scores" in row]
        if not rows:
            raise UserError(
                f"--eval {self._setup.truth}: no page has a PAGE or ALTO file there; they are "
                "called like the results, such as page.xml or book_p0001.xml"
            )
        total = totals(rows)
        write_json(
            self._setup.out / SCORES,
            {"total": total, "documents": by_document(rows), "pages": rows},
        )
        return f"{len(rows)} pages with truth\n{table(total)}"

    def _joined(self) -> Iterator[tuple[str, list[str]]]:
        """The files of whole documents, with those of their pages."""
        sources: dict[str, list[Job]] = {}
        for job in self._jobs:
            sources.setdefault(job.ref.source, []).append(job)
        names = Names()
        for job in self._jobs:  # no document gets the name of a page
            names.take(job.name, 1, 1)
        for jobs in sources.values():
            if len(jobs) > 1:
                name = names.take(jobs[0].ref.source, 1, 1)
                for each in self._setup.formats:
                    form = PAGE_FORMATS[each]
                    if getattr(form, "joins", False):
                        parts = [self._setup.files(job.name)[each] for job in jobs]
                        yield f"{form.folder}/{name}{form.ending}", parts

    def _join(self, file: str, parts: Iterable[str]) -> None:
        with replacing(self._setup.out / file) as stream:
            for part in (self._setup.out / part for part in parts):
                if part.is_file():
                    stream.write(part.read_bytes())


class Log:
    """`read.jsonl`: rows are appended as pages are done and put in input order at the end.

    Args:
        folder: of the results.
        said: what the results depend on; rows of a run with other options are not used again.
    """

    def __init__(self, folder: Path, said: Mapping[str, Any]):
        self._path, self._said = folder / LOG, dict(said)
        self._rows: dict[tuple[str, int], dict[str, Any]] = {}

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of this run in the order of the pages."""
        return list(self._rows.values())

    def finished(self, jobs: Iterable[Job], out: Path) -> dict[tuple[str, int], dict[str, Any]]:
        """The rows of an earlier run whose pages need not be read again."""
        rows = {}
        if self._path.is_file():
            for text in self._path.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    row = json.loads(text)
                    rows[row["source"], row["page"]] = row
                except (ValueError, KeyError, TypeError):  # a killed run ends in half a row
                    continue
        return {
            job.key: {**rows[job.key], "status": "skipped"}
            for job in jobs
            if job.key in rows and self._whole(rows[job.key], job, out)
        }

    def _whole(self, row: Mapping[str, Any], job: Job, out: Path) -> bool:
        same = row.get("status") in ("ok", "skipped") and row.get("options") == self._said
        same = same and row.get("version") == __version__ and row.get("name") == job.name
        if not same or row.get("sha256") != job.sha256:
            return False
        files = row.get("files")
        return isinstance(files, dict) and all(
            (out / file).is_file() and (out / file).stat().st_size == size
            for file, size in files.items()
        )

    def add(self, row: Mapping[str, Any]) -> None:
        """Appends a row."""
        row = {**row, "options": self._said}
        self._rows[row["source"], row["page"]] = row
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")

    def close(self) -> None:
        """Writes the rows of this run in input order, without those of earlier ones."""
        lines = (
            json.dumps(row, ensure_ascii=False, allow_nan=False) for row in self._rows.values()
        )
        write_text(self._path, "".join(f"{line}\n" for line in lines))


def profile(rows: Iterable[Mapping[str, Any]]) -> str:
    """A table of the time by stage: total seconds, share, milliseconds a page."""
    sums: dict[str, float] = {}
    pages = 0
    for row in rows:
        if row["status"] == "ok":
            pages += 1
            for stage, value in row["ms"].items():
                sums[stage] = sums.get(stage, 0.0) + value
    total = sum(sums.values()) or 1.0
    ranked = sorted(sums.items(), key=lambda item: -item[1])
    lines = [f"{'stage':10}{'s':>9}{'share':>8}{'ms a page':>11}"]
    lines += [
        f"{stage:10}{value / 1000:9.2f}{value / total:8.0%}{value / max(pages, 1):11.1f}"
        for stage, value in ranked
    ]
    return "\n".join(lines)
