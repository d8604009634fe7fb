"""`graphkd read` on PDFs: searchable PDFs and overlays out, text layers in."""

import json

import numpy as np
import pypdfium2
import pytest
from PIL import Image

from graphkd.cli import main
from graphkd.document import Line, Page, Region, box_polygon
from graphkd.formats import searchable_pdf
from graphkd.formats.searchable_pdf import SearchablePdf
from tests.read.models import STEP, page_of, save, write_models

LINES = ((20, 100, "ab"), (20, 150, "bab"))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return write_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def read(models, tmp_path):
    def call(*words, out=tmp_path / "out"):
        words = [*map(str, words), "-o", str(out), "--weights", str(models), "--dpi", "200"]
        return main(["read", *words, "--threads", "1", "--rotate", "0"])

    return call


def scan(path, *pages):
    """A PDF of pictures without loss, so that its pages at 200 dpi are these pixels."""
    pdf = pypdfium2.PdfDocument.new()
    for pixels in pages:
        height, width = (side * 72 / 200 for side in pixels.shape[:2])
        image = pypdfium2.PdfImage.new(pdf)
        image.set_bitmap(pypdfium2.PdfBitmap.from_pil(Image.fromarray(pixels)))
        image.set_matrix(pypdfium2.PdfMatrix().scale(width, height))
        sheet = pdf.new_page(width, height)
        sheet.insert_obj(image)
        sheet.gen_content()
    pdf.save(path)
    return path


def texts(path, number=0):
    with pypdfium2.PdfDocument(path) as pdf:
        return pdf[number].get_textpage().get_text_range().split()


def rows(out):
    return [json.loads(text) for text in (out / "read.jsonl").read_text().splitlines()]


def with_layer(source, out, *said):
    """A PDF with text over the lines of its page."""
    lines = []
    for (left, top, _), text in zip(LINES, said, strict=True):
        box = box_polygon((left, top, left + len(text) * STEP, top + 24))
        lines.append(Line(box, text=text))
    region = Region("text", 1.0, box_polygon((0, 0, 300, 400)), tuple(lines))
    pdf = SearchablePdf(source)
    pdf.add(Page(str(source), 1, 300, 400, (region,)))
    pdf.save(out)
    return out


def test_searchable_pdf_and_overlay_of_a_scan(read, tmp_path):
    source = scan(tmp_path / "book.pdf", page_of(*LINES), page_of((30, 60, "aba")))
    assert read(source, "--format", "pdf,overlay,txt") == 0
    out = tmp_path / "out"
    assert texts(out / "pdf" / "book.pdf") == ["ab", "bab"]
    assert texts(out / "pdf" / "book.pdf", 1) == ["aba"]
    assert (out / "txt" / "book.txt").read_text().split() == ["ab", "bab", "aba"]
    with pypdfium2.PdfDocument(source) as old, pypdfium2.PdfDocument(out / "pdf/book.pdf") as new:
        for one, other in zip(old, new, strict=True):
            pixels = [page.render(scale=2).to_numpy() for page in (one, other)]
            assert (pixels[0] == pixels[1]).all()
    overlay = np.array(Image.open(out / "overlay" / "book_p0001.jpg"))
    assert overlay.shape == (400, 300, 3)
    kept = (out / "pdf" / "book.pdf").read_bytes()
    (out / "pdf" / "book.pdf").unlink()
    assert read(source, "--format", "pdf,overlay,txt", "--resume") == 0
    assert [row["status"] for row in rows(out)] == ["skipped"] * 2
    assert (out / "pdf" / "book.pdf").read_bytes() == kept
    assert read(source, "--format", "pdf", "--overwrite", "--pages", "2") == 0
    assert texts(out / "pdf" / "book.pdf", 1) == ["aba"]
    assert not (out / "overlay").exists()


def test_searchable_pdf_of_pictures(read, tmp_path):
    save(tmp_path / "in" / "a.png", page_of(*LINES))
    save(tmp_path / "in" / "b.png", page_of(*LINES[:1]))
    (tmp_path / "in" / "c.png").write_text("no picture")
    assert read(tmp_path / "in", "--format", "pdf") == 1
    assert len(list((tmp_path / "out" / "pdf").iterdir())) == 2
    assert texts(tmp_path / "out" / "pdf" / "a.pdf") == ["ab", "bab"]
    assert texts(tmp_path / "out" / "pdf" / "b.pdf") == ["ab"]


def test_an_encrypted_pdf_is_refused_before_reading(read, tmp_path, capsys):
    canvas = pytest.importorskip("reportlab.pdfgen.canvas")
    from reportlab.lib.pdfencrypt import StandardEncryption

    lock = StandardEncryption("", ownerPassword="x")
    page = canvas.Canvas(str(tmp_path / "a.pdf"), pagesize=(108, 144), encrypt=lock)
    page.showPage()
    page.save()
    assert read(tmp_path / "a.pdf", "--format", "pdf") == 2
    assert "allow it with --decrypt" in capsys.readouterr().err
    assert read(tmp_path / "a.pdf", "--format", "pdf", "--decrypt", "--overwrite") == 0
    assert (tmp_path / "out" / "pdf" / "a.pdf").is_file()


def test_a_text_layer_is_taken_where_reading_agrees(read, tmp_path, monkeypatch):
    source = scan(tmp_path / "scan.pdf", page_of(*LINES))
    layer = with_layer(source, tmp_path / "ocr.pdf", "ab", "bxb")

    def said(name):
        return " ".join((tmp_path / "out" / "txt" / f"{name}.txt").read_text().split())

    # Invisible text is somebody's OCR.
    assert read(layer, "--format", "txt") == 0
    assert rows(tmp_path / "out")[0]["origins"] == {"ocr": 2}
    assert read(layer, "--format", "txt", "--text", "pdf", "--overwrite") == 0
    assert said("ocr") == "ab bxb"
    # The same text, as if it were what is drawn.
    monkeypatch.setattr(searchable_pdf, "_INVISIBLE", 0)
    drawn = with_layer(source, tmp_path / "born.pdf", "ab", "bxb")
    other = with_layer(source, tmp_path / "wrong.pdf", "xy", "yxy")
    assert read(drawn, "--format", "txt", "--overwrite") == 0
    (row,) = rows(tmp_path / "out")
    assert row["origins"] == {"pdf": 2} and row["confidence"] is None and not row["notes"]
    assert said("born") == "ab bxb"
    assert read(drawn, "--format", "txt", "--overwrite", "--text", "ocr") == 0
    assert said("born") == "ab bab"
    assert read(other, "--format", "txt,page", "--overwrite") == 0
    (row,) = rows(tmp_path / "out")
    assert row["origins"] == {"ocr": 2} and "100% of its characters" in row["notes"][0]
    assert said("wrong") == "ab bab"
