"""Damaged, locked and oversized PDFs: each page is read, or refused in a line, in little memory."""

import io
from functools import cache

import pypdfium2
import pytest
from hypothesis import given
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.pdfgen.canvas import Canvas

from graphkd.predict.sources import Failure, RawPage, read_file
from tests.data.fuzz import MEGABYTE, QUICK, confined, cpu_seconds, damaged


@cache
def document(pages=2, *, size=(200, 100), password=None) -> bytes:
    stream = io.BytesIO()
    lock = StandardEncryption(password, ownerPassword="owner") if password else None
    canvas = Canvas(stream, pagesize=size, encrypt=lock)
    for number in range(pages):
        canvas.drawString(10, 50, f"page {number + 1}")
        canvas.showPage()
    canvas.save()
    return stream.getvalue()


def read(path, content: bytes, *, limit: float = 20.0, dpi: int = 72):
    path.write_bytes(content)
    with cpu_seconds(limit):
        found = list(read_file(path, dpi=dpi))
    for item in found:
        if isinstance(item, Failure):
            assert item.reason and "\n" not in str(item)
        else:
            assert isinstance(item, RawPage) and item.pixels.shape[2] == 3
    return found


def test_a_good_document_is_read(tmp_path):
    assert [page.pixels.shape for page in read(tmp_path / "a.pdf", document())] == [
        (100, 200, 3)
    ] * 2


@QUICK
@given(content=damaged(document()))
def test_damage_never_does_more_than_refuse(tmp_path, content):
    assert read(tmp_path / "a.pdf", content)


@pytest.mark.parametrize("kept", [10, 200, 0.5, 0.9])
def test_cut_off_documents_are_read_or_refused(tmp_path, kept):
    raw = document()
    assert read(
        tmp_path / "a.pdf", raw[: int(len(raw) * kept) if isinstance(kept, float) else kept]
    )


def test_a_locked_document_says_so(tmp_path):
    (found,) = read(tmp_path / "a.pdf", document(password="secret"))
    assert "password" in found.reason


def test_a_document_without_pages_says_so(tmp_path):
    stream = io.BytesIO()
    pypdfium2.PdfDocument.new().save(stream)
    (found,) = read(tmp_path / "a.pdf", stream.getvalue())
    assert isinstance(found, Failure)


READ = """
import sys
from pathlib import Path
from graphkd.predict.sources import Failure, read_file
for item in read_file(Path(sys.argv[1]), dpi=int(sys.argv[2])):
    print(item if isinstance(item, Failure) else item.pixels.shape)
"""


@pytest.mark.parametrize(("dpi", "said"), [(72, "limit is 179"), (150, "limit is 179")])
def test_a_page_of_five_metres_is_refused_before_it_is_drawn(tmp_path, dpi, said):
    path = tmp_path / "a.pdf"
    path.write_bytes(document(1, size=(14400, 14400)))
    text, peak = confined(READ, path, dpi, memory=3000 * MEGABYTE)
    assert said in text and peak < 400 * MEGABYTE


def test_pages_that_ask_for_much_more_than_a_pdf_may(tmp_path):
    path = tmp_path / "a.pdf"
    path.write_bytes(document(1).replace(b"0 0 200 100", b"0 0 1000000000 1000000000"))
    text, peak = confined(READ, path, 72, memory=3000 * MEGABYTE)
    assert text and peak < 400 * MEGABYTE


def test_ten_thousand_pages_are_read_one_at_a_time(tmp_path):
    path = tmp_path / "a.pdf"
    path.write_bytes(document(10_000, size=(30, 20)))
    with cpu_seconds(20):
        pages = read_file(path, dpi=72)
        assert [next(pages).number for _ in range(3)] == [1, 2, 3]
        pages.close()
    text, peak = confined(READ, path, 72, memory=3000 * MEGABYTE)
    assert len(text.splitlines()) == 10_000 and peak < 400 * MEGABYTE
