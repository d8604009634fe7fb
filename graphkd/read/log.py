"""A run of `graphkd read`: its pages and files, the log, going on with a run, time and scores."""

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from graphkd import __version__
from graphkd.document import Document
from graphkd.errors import UserError
from graphkd.evaluation.page_text import by_document, table, totals
from graphkd.formats import PAGE_FORMATS
from graphkd.formats.searchable_pdf import SearchablePdf
from graphkd.io import file_digest, replacing, write_json, write_text
from graphkd.predict.documents import Failure, PageRanges, count_pdf
from graphkd.predict.folder import WRITTEN, Kind, Names, Results
from graphkd.predict.sources import PageRef, list_pages, opened
from graphkd.read.reader import DPI
from graphkd.read.workers import OVERLAY, Job, Setup, read_all

LOG, SCORES = "read.jsonl", "eval.json"
PDF = "pdf"  # a format with one file a document
KIND = Kind(
    "read.json",
    files=(LOG, SCORES),
    folders={form.folder: form.ending for form in PAGE_FORMATS.values()}
    | {OVERLAY: ".jpg", PDF: ".pdf"},
)


def formats_in(text: str) -> tuple[str, ...]:
    """The formats of a list with commas; PDFs are made from `jsonl`, which comes with them.

    Raises:
        UserError: an unknown name.
    """
    formats = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    known = (*PAGE_FORMATS, PDF, OVERLAY)
    unknown = [part for part in formats if part not in known]
    if unknown:
        raise UserError(f"--format {unknown[0]!r}: choose from {', '.join(known)}")
    return tuple(dict.fromkeys([*formats, "jsonl"])) if PDF in formats else formats


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
        pdf: options of `SearchablePdf` besides the source and its password.

    Attributes:
        results: the folder.
        log: `read.jsonl`.
    """

    def __init__(
        self,
        setup: Setup,
        jobs: Sequence[Job],
        *,
        resume: bool = False,
        pdf: Mapping[str, bool] | None = None,
    ):
        self._setup, self._jobs, self._pdf = setup, jobs, dict(pdf or {})
        for _, own in self._pdfs():  # refused before pages are read
            if count_pdf(own[0].ref.path, own[0].ref.password) is not None:
                self._open(own[0].ref, own[0].ref.path).close()
        self.log = Log(setup.out, setup.said())
        self._done = self.log.finished(jobs, setup.out) if resume else {}
        written = setup.out / WRITTEN
        earlier = written.read_text(encoding="utf-8").splitlines() if written.is_file() else []
        self.results = Results(
            setup.out, KIND, files=KIND.files, record=setup.said(), again="--resume"
        )
        files = [file for job in jobs for file in setup.files(job.name).values()]
        files += [file for file, _ in (*self._joined(), *self._pdfs())]
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
                for file, own in self._pdfs():
                    self._write_pdf(file, own)
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

    def _documents(self) -> list[list[Job]]:
        """The pages of each document."""
        sources: dict[str, list[Job]] = {}
        for job in self._jobs:
            sources.setdefault(job.ref.source, []).append(job)
        return list(sources.values())

    def _joined(self) -> Iterator[tuple[str, list[str]]]:
        """The files of documents of several pages, with those of their pages."""
        names = Names()
        for job in self._jobs:  # no document gets the name of a page
            names.take(job.name, 1, 1)
        for jobs in self._documents():
            name = names.take(jobs[0].ref.source, 1, 1) if len(jobs) > 1 else ""
            for each in self._setup.formats if name else ():
                form = PAGE_FORMATS.get(each)
                if form is not None and form.joins:
                    parts = [self._setup.files(job.name)[each] for job in jobs]
                    yield f"{form.folder}/{name}{form.ending}", parts

    def _pdfs(self) -> Iterator[tuple[str, list[Job]]]:
        """The searchable PDFs, with their pages."""
        names = Names()
        if PDF in self._setup.formats:
            for jobs in self._documents():
                yield f"{PDF}/{names.take(jobs[0].ref.source, 1, 1)}.pdf", jobs

    def _join(self, file: str, parts: Iterable[str]) -> None:
        with replacing(self._setup.out / file) as stream:
            for part in filter(self._is_there, parts):
                stream.write((self._setup.out / part).read_bytes())

    def _open(self, ref: PageRef, source: Path | None) -> SearchablePdf:
        return SearchablePdf(source, password=ref.password, **self._pdf)

    def _write_pdf(self, file: str, jobs: Sequence[Job]) -> None:
        """Writes a document's pages with their text; pages of a PDF that failed stay without."""
        first, files = jobs[0].ref, [self._setup.files(job.name)["jsonl"] for job in jobs]
        done = [(job, text) for job, text in zip(jobs, files, strict=True) if self._is_there(text)]
        is_pdf = count_pdf(first.path, first.password) is not None
        if not done:
            return
        with contextlib.closing(self._open(first, first.path if is_pdf else None)) as pdf:
            for job, text in done:
                said = json.loads((self._setup.out / text).read_text(encoding="utf-8"))
                (page,) = Document.from_dict(said)
                pdf.add(page, None if is_pdf else _picture(job.ref))
            (self._setup.out / file).parent.mkdir(exist_ok=True)
            pdf.save(self._setup.out / file)

    def _is_there(self, file: str) -> bool:
        return (self._setup.out / file).is_file()


def _picture(ref: PageRef) -> Path | Image.Image:
    """A page for a PDF: the file itself where it is a JPEG, else its pixels."""
    if ref.path.suffix.lower() in (".jpg", ".jpeg"):
        return ref.path
    with opened(ref, dpi=DPI) as raw:
        return Image.fromarray(raw.pixels)


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
