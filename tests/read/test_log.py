"""Runs of `graphkd read`: workers, time limits, the log, `--resume`, documents, scores."""

import json
import os
import signal
import subprocess
import sys

import pypdfium2
import pytest
from PIL import Image

import graphkd.read.reader
from graphkd.cli import main
from graphkd.predict.sources import PageRef
from graphkd.read.log import Log
from graphkd.read.workers import Job, Setup, _Pool
from tests.predict.files import picture
from tests.read.models import page_of, save, write_models

TEXTS = ("ab", "b a", "abab")
JSON = ("--format", "json,page")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return write_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def scans(tmp_path):
    for number, text in enumerate(TEXTS, start=1):
        save(tmp_path / "scans" / f"p{number}.png", page_of((20, 100, text), (20, 150, "ba")))
    return tmp_path / "scans"


@pytest.fixture
def read(models, tmp_path):
    def call(*words, out=tmp_path / "out"):
        words = [*map(str, words), "-o", str(out), "--weights", str(models), "--threads", "1"]
        return main(["read", *words])

    return call


def rows(out):
    return [json.loads(text) for text in (out / "read.jsonl").read_text().splitlines()]


def contents(out):
    """The files of the results, without the log and the record."""
    files = (path for path in out.rglob("*") if path.is_file())
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in files
        if path.name not in ("read.jsonl", "read.json", "written.txt")
    }


def test_a_folder_of_pictures(read, scans, tmp_path, capsys):
    (scans / "p4.png").write_text("words")
    assert read(scans, "--format", "page,json", "--profile") == 1
    out = tmp_path / "out"
    said = capsys.readouterr()
    assert said.out.startswith(f"3 pages, 6 lines: {out}\n") and "ms a page" in said.out
    assert f"not read: {scans / 'p4.png'}: not an image" in said.err
    assert len(json.loads((out / "failed.json").read_text())) == 1
    page = json.loads((out / "pages" / "p2.json").read_text())
    assert [line["text"] for region in page["regions"] for line in region.get("lines", ())] == [
        "b a",
        "ba",
    ]
    assert ">b a<" in (out / "page_xml" / "p2.xml").read_text()
    first = rows(out)[0]
    assert (first["status"], first["lines"], first["characters"]) == ("ok", 2, 4)
    assert first["origins"] == {"ocr": 2} and first["grade"] == "D"
    assert first["ms"]["read"] > 0 and first["peak_mb"] > 0 and len(first["sha256"]) == 64
    record = json.loads((out / "read.json").read_text())
    assert record["finished"] and record["pages"] == 3 and record["failed"] == 1


def test_one_and_two_jobs_give_equal_bytes(read, scans, tmp_path):
    formats = ("--format", "page,json,alto,md,jsonl")
    assert read(scans, *formats) == 0
    assert read(scans, *formats, "--jobs", "2", out=tmp_path / "two") == 0
    one, two = contents(tmp_path / "out"), contents(tmp_path / "two")
    assert one == two and len(one) == 15
    assert [row["source"] for row in rows(tmp_path / "two")] == [
        str(scans / f"p{n}.png") for n in (1, 2, 3)
    ]


def test_going_on_reads_what_is_missing_or_changed(read, scans, tmp_path):
    out = tmp_path / "out"
    assert read(scans, *JSON) == 0
    whole = contents(out)
    log = (out / "read.jsonl").read_text().splitlines()
    # As a kill leaves it: half of a row, a page that is gone.
    (out / "read.jsonl").write_text("\n".join([*log[:2], log[2][:50]]))
    (out / "pages" / "p1.json").unlink()
    assert read(scans) == 2  # not without --resume or --overwrite
    assert read(scans, *JSON, "--resume") == 0
    assert [row["status"] for row in rows(out)] == ["ok", "skipped", "ok"]
    assert contents(out) == whole
    assert read(scans, *JSON, "--resume") == 0
    assert [row["status"] for row in rows(out)] == ["skipped"] * 3
    save(scans / "p2.png", page_of((20, 100, "aba")))
    assert read(scans, *JSON, "--resume") == 0
    assert [row["status"] for row in rows(out)] == ["skipped", "ok", "skipped"]
    assert read(scans, *JSON, "--resume", "--no-words") == 0
    assert [row["status"] for row in rows(out)] == ["ok"] * 3
    # A later run with --overwrite knows all of its files.
    assert read(scans / "p1.png", *JSON, "--overwrite") == 0
    assert sorted(contents(out)) == ["page_xml/p1.xml", "pages/p1.json"]


def pdf_text(path):
    document = pypdfium2.PdfDocument(path)
    return [page.get_textpage().get_text_range().split() for page in document]


def test_searchable_pdfs_and_files_of_whole_documents(read, tmp_path):
    pixels = [page_of((20, 100, "ab"), (20, 150, "ba")), page_of((20, 100, "b a"))]
    pictures = [Image.fromarray(each) for each in pixels]
    pictures[0].save(tmp_path / "book.tif", save_all=True, append_images=pictures[1:])
    pictures[0].save(tmp_path / "book.pdf", save_all=True, append_images=pictures[1:])
    assert read(tmp_path / "book.tif", tmp_path / "book.pdf", "--format", "txt,pdf") == 0
    out = tmp_path / "out"
    names = sorted(path.name for path in (out / "txt").iterdir())
    pages = ["book_p0001", "book_p0001~2", "book_p0002", "book_p0002~2"]
    assert names == sorted(f"{name}.txt" for name in ["book", "book~2", *pages])
    assert (out / "txt" / "book.txt").read_text().split() == ["ab", "ba", "b", "a"]
    for name in ("book", "book~2"):
        assert pdf_text(out / "pdf" / f"{name}.pdf") == [["ab", "ba"], ["b", "a"]]
    written = (out / "written.txt").read_text().splitlines()
    assert {"pdf/book.pdf", "txt/book.txt", "jsonl/book_p0001.jsonl"} <= set(written)


def test_neither_training_packages_nor_a_network_are_needed(models, scans, tmp_path):
    code = f"""
import socket, sys
for name in ("torch", "torchvision", "detectron2", "timm", "scipy", "matplotlib", "pycocotools"):
    sys.modules[name] = None
def refuse(*args, **options):
    raise AssertionError("a network connection")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
from graphkd.cli import main
words = ["--weights", {str(models)!r}, "--format", "page,alto,hocr,md,txt,json,jsonl,pdf,overlay"]
sys.exit(main(["read", {str(scans)!r}, "-o", {str(tmp_path / "out")!r}, *words]))
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert len(list((tmp_path / "out" / "pdf").iterdir())) == 3


def jobs_of(scans):
    paths = sorted(scans.iterdir())
    return [Job(PageRef(path, str(path)), path.stem, "") for path in paths]


def test_a_killed_worker_is_replaced(models, scans, tmp_path):
    setup = Setup(tmp_path, ("json",), weights=models, threads=1)
    pool = _Pool(setup, workers=1, timeout=None)
    try:
        found = []
        jobs = jobs_of(scans)
        for row in pool.run(jobs):
            found.append(row)
            if len(found) == 1:
                os.kill(pool._workers[0].process.pid, signal.SIGKILL)
    finally:
        pool.close()
    assert [row["status"] for row in found].count("ok") >= 2
    assert [row["name"] for row in found] == ["p1", "p2", "p3"]
    lost = [row for row in found if row["status"] == "failed"]
    assert all("process" in row["reason"] for row in lost)


def test_a_page_that_takes_too_long(models, scans, tmp_path):
    setup = Setup(tmp_path, ("json",), weights=models, threads=1)
    pool = _Pool(setup, workers=1, timeout=5.0)
    try:
        found, stopped = [], False
        for row in pool.run(jobs_of(scans)):
            found.append(row)
            if pool._workers[0].ready and not stopped:
                os.kill(pool._workers[0].process.pid, signal.SIGSTOP)
                stopped = True
    finally:
        pool.close()
    assert len(found) == 3
    late = [row for row in found if row["status"] == "timeout"]
    assert late and late[0]["reason"] == "longer than 5 s"


def test_fail_fast_stops(read, scans, tmp_path):
    (scans / "p0.png").write_text("words")
    assert read(scans, "--fail-fast") == 1
    assert json.loads((tmp_path / "out" / "read.json").read_text())["pages"] == 0


def test_a_page_that_breaks_a_model_does_not_stop_the_others(read, scans, tmp_path, capsys):
    picture(scans / "p0.png", red=0)
    Image.new("RGB", (60, 80), (0, 0, 0)).save(scans / "p0.png")  # the toy detector gives NaN
    assert read(scans) == 1
    assert "values that are not numbers" in capsys.readouterr().err
    assert [row["status"] for row in rows(tmp_path / "out")] == ["failed", "ok", "ok", "ok"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--jobs", "0"], "--jobs is above 0"),
        (["--rotate", "45"], "--rotate 45: choose from"),
        (["--format", "xyz"], "--format 'xyz': choose from"),
        (["--dpi", "x"], "--dpi x"),
        (["--eval", "gone"], "--eval gone: no such"),
        (["--pages", "0"], "--pages '0'"),
    ],
)
def test_mistakes_in_one_line(read, scans, tmp_path, capsys, words, message):
    assert read(scans, *words) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and message in said[0]
    assert not (tmp_path / "out").exists()


def test_a_missing_model_is_named(scans, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(graphkd.read.reader.shipped, "FOLDER", tmp_path / "nowhere")
    assert main(["read", str(scans), "-o", str(tmp_path / "out")]) == 2
    assert "the shipped student is missing" in capsys.readouterr().err


def test_scores_against_page_files(read, scans, tmp_path, capsys):
    assert read(scans, "--format", "page", out=tmp_path / "truth") == 0
    truth = tmp_path / "truth" / "page_xml"
    file = truth / "p1.xml"
    file.write_text(file.read_text().replace("<Unicode>ab</Unicode>", "<Unicode>ax</Unicode>"))
    capsys.readouterr()
    assert read(scans, "--eval", truth) == 0
    said = capsys.readouterr().out
    assert "3 pages with truth" in said
    scores = json.loads((tmp_path / "out" / "eval.json").read_text())
    # One of 9 + 6 characters is wrong.
    assert scores["total"]["CER"] == pytest.approx(100 / 15)
    assert scores["total"]["CER_true_lines"] == pytest.approx(100 / 15)
    assert scores["total"]["line_recall"] == scores["total"]["line_precision"] == 100
    assert scores["total"]["successor"] == 100 and len(scores["documents"]) == 3
    assert read(scans, "--eval", tmp_path, "--overwrite") == 2


def test_pages_of_a_log_are_told_apart_by_their_number(tmp_path):
    log = Log(tmp_path, {})
    for page in (1, 2, 1):
        log.add({"source": "a.pdf", "page": page, "status": "ok", "ms": {}})
    log.close()
    assert [row["page"] for row in rows(tmp_path)] == [1, 2]
