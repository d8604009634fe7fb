"""The text layer of PDFs: taken line by line where it can be trusted."""

from dataclasses import replace

import numpy as np
import pypdfium2
import pytest

from graphkd.document import Line, Page, Region, box_polygon
from graphkd.formats.searchable_pdf import SearchablePdf
from graphkd.read.text_layer import MOST_APART, disagreement, with_pdf_text

TEXTS = ["A line of text, printed", "second: 1,234.50 EUR", "and the third one"]
SCALE = 2.0
CAESAR = {code: code + 1 for code in range(97, 122)}


def made(path, *, texts=TEXTS, bars=(), wide=False):
    canvas = pytest.importorskip("reportlab.pdfgen.canvas")
    page = canvas.Canvas(str(path), pagesize=(300, 200), invariant=1)
    for row, text in enumerate(texts):
        if wide and row == 0:  # the same line in two pieces without a space, the last one first
            page.drawString(100, 160, text[7:])
            page.drawString(20, 160, text[:6])
        elif text:
            page.drawString(20, 160 - 40 * row, text)
    for row in bars:  # ink that is no text
        page.rect(20, 160 - 40 * row, 200, 8, fill=1)
    page.showPage()
    page.save()
    return path


def outlines(count=3):
    rows = (row for row in range(count))
    return [Line(box_polygon((30, 50 + 80 * row, 500, 92 + 80 * row)), 0.9) for row in rows]


def read(path, lines, **how):
    with pypdfium2.PdfDocument(path) as pdf:
        pixels = pdf[0].render(scale=SCALE).to_numpy()[:, :, :3].copy()
        turns = int(how.get("rotation", 0)) // 90
        return with_pdf_text(lines, pdf[0], np.rot90(pixels, -turns).copy(), **how), pixels


def test_good_text_is_taken_with_its_words(tmp_path):
    found, pixels = read(made(tmp_path / "a.pdf"), outlines(), chars=True)
    assert [line.text for line in found] == TEXTS
    assert [(line.origin, line.confidence, line.score) for line in found] == [
        ("pdf", None, 0.9)
    ] * 3
    words = found[0].words
    assert [word.text for word in words] == TEXTS[0].split()
    for word in words:
        x1, y1, x2, y2 = (round(value) for value in word.box)
        assert (pixels[y1:y2, x1:x2].min(axis=(0, 2)) < 128).mean() > 0.6
        assert "".join(text for text, *_ in word.characters) == word.text
    assert not read(tmp_path / "a.pdf", outlines())[0][0].words[0].characters
    assert read(tmp_path / "a.pdf", outlines(), source="ocr")[0] == outlines()


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_a_page_on_its_side(tmp_path, rotation):
    # The page is shown turned, and was turned back to be read.
    with pypdfium2.PdfDocument(made(tmp_path / "a.pdf")) as pdf:
        pdf[0].set_rotation(rotation)
        pdf.save(tmp_path / "b.pdf")
    found, _ = read(tmp_path / "b.pdf", outlines(), rotation=360 - rotation)
    assert [line.text for line in found] == TEXTS


def test_pieces_in_another_order_and_gaps(tmp_path):
    found, _ = read(made(tmp_path / "a.pdf", wide=True), outlines())
    assert found[0].text == "A line of text, printed"


def test_hyphens_of_divided_words_stay(tmp_path):
    texts = ["a word that is divided-", "ly printed", "well-known"]
    found, _ = read(made(tmp_path / "a.pdf", texts=texts), outlines())
    assert [line.text for line in found] == texts  # pdfium gives the first one as U+0002


def test_half_a_page(tmp_path):
    source = made(tmp_path / "a.pdf", texts=[TEXTS[0], "", TEXTS[2]], bars=[1])
    found, _ = read(source, outlines())
    assert [line.origin for line in found] == ["pdf", "ocr", "pdf"]
    assert found[1] == outlines()[1]


def test_shifted_text_is_not_trusted(tmp_path):
    """What is seen is a picture; the text lies beside it, or over other ink."""
    source = made(tmp_path / "a.pdf", texts=["", "half", ""], bars=[0, 1, 2])
    assert [line.origin for line in read(source, outlines())[0]] == ["ocr"] * 3
    moved = [replace(line, polygon=box_polygon((150, *line.box[1:]))) for line in outlines()]
    found, _ = read(made(tmp_path / "b.pdf"), moved)
    assert all(line.origin == "pdf" for line in found)  # parts of lines have their parts


def test_invisible_text_is_taken_on_request_alone(tmp_path):
    source = made(tmp_path / "a.pdf", texts=["", "", ""], bars=[0, 1, 2])
    said = [replace(line, text=text) for line, text in zip(outlines(), TEXTS, strict=True)]
    page = Page("a", 1, 600, 400, (Region("text", 1.0, said[0].polygon, tuple(said)),))
    pdf = SearchablePdf(source)
    pdf.add(page)
    pdf.save(tmp_path / "b.pdf")
    assert [line.origin for line in read(tmp_path / "b.pdf", outlines())[0]] == ["ocr"] * 3
    found, _ = read(tmp_path / "b.pdf", outlines(), source="pdf")
    assert [line.text for line in found] == TEXTS


def test_unknown_characters(tmp_path, monkeypatch):
    from graphkd.read import text_layer

    plain = text_layer.characters

    def damaged(*given):
        found = plain(*given)
        return [c._replace(text="\ue001") if i % 20 == 3 else c for i, c in enumerate(found)]

    monkeypatch.setattr(text_layer, "characters", damaged)
    found, _ = read(made(tmp_path / "a.pdf"), outlines())
    assert [line.origin for line in found] == ["ocr"] * 3
    assert read(made(tmp_path / "c.pdf", texts=["", "", ""]), outlines())[0] == outlines()


def test_reading_some_lines_shows_a_wrong_table_of_characters():
    texts = [f"line number {place}" for place in range(20)]
    lines = [
        Line(box_polygon((0, 0, 9, 9)), text=text, origin="pdf" if place % 2 else "ocr")
        for place, text in enumerate(texts)
    ]
    asked = []

    def rotated(probes):
        asked.extend(line.text for line in probes)
        return [replace(line, text=line.text.translate(CAESAR)) for line in probes]

    assert disagreement(lines, lambda probes: probes) == 0
    assert disagreement(lines, rotated) > MOST_APART
    assert len(asked) == 8 and asked[0] == texts[1] and asked[-1] == texts[19]
    # A few bad lines, such as formulas, do not decide; spaces do not count.
    odd = iter(range(20))
    mixed = disagreement(
        lines, lambda probes: [replace(p, text=" ".join(p.text * (next(odd) > 2))) for p in probes]
    )
    assert mixed == 0
    assert disagreement([replace(line, origin="ocr") for line in lines], rotated) is None
