"""Searchable PDFs: the text that was read comes out again, at its place, and nothing looks else."""

from dataclasses import replace

import numpy as np
import pypdfium2
import pytest
from PIL import Image
from pypdfium2 import raw as pdfium

from graphkd.document import Line, Page, Region, Word, box_polygon
from graphkd.errors import UserError
from graphkd.formats.pdf_page import characters, pixel_matrix
from graphkd.formats.searchable_pdf import SearchablePdf

DPI = 144
TEXTS = ("Über Größe", "Ωμέγα ΑΒΓ", "Широкая электрификация", "漢字 かな", "ﬁne a 𝄞 x", "one")


def made(path, *, rotate=0, crop=None, text="", encrypt=None, scaled=False):
    canvas = pytest.importorskip("reportlab.pdfgen.canvas")
    if encrypt:
        from reportlab.lib.pdfencrypt import StandardEncryption

        encrypt = StandardEncryption(encrypt)
    page = canvas.Canvas(str(path), pagesize=(300, 260), invariant=1, encrypt=encrypt)
    if scaled:  # a matrix that is left over at the end of the content
        page.scale(2, 1.5)
        page.rotate(10)
    page.setPageRotation(rotate)
    if crop:
        page.setCropBox(crop)
    page.setFillColorRGB(0.8, 0.2, 0.2)
    page.rect(40, 40, 60, 50, fill=1)
    if text:
        page.drawString(30, 200, text)
    page.showPage()
    page.showPage()
    page.save()
    return path


def pixels(path, number=0, **how):
    with pypdfium2.PdfDocument(path, **how) as pdf:
        return pdf[number].render(scale=DPI / 72).to_numpy().copy()


def page_of(path, *, texts=TEXTS, rotation=0, skew=0.0, words=True, number=1):
    """A page with a line a text, in pixels of the drawn page."""
    height, width = pixels(path).shape[:2]
    if rotation % 180:
        height, width = width, height
    lines = []
    for row, text in enumerate(texts):
        top, left, parts = 30 + 60 * row, 30.0, []
        for part in text.split() if words else [text]:
            right = left + 12 * len(part)
            corners = ((left, top), (right, top), (right, top + 24), (left, top + 24))
            parts.append(Word(tuple((x, y + skew * x) for x, y in corners), part, 0.9))
            left = right + 9
        edge = right
        around = ((30, top), (edge, top), (edge, top + 24), (30, top + 24))
        outline = tuple((float(x), y + skew * x) for x, y in around)
        lines.append(Line(outline, text=text, words=tuple(parts) if words else ()))
    region = Region("text", 1.0, box_polygon((0, 0, width, height)), tuple(lines))
    return Page(str(path), number, width, height, (region,), rotation=rotation)


def written(page, source, out, picture=None, **options):
    pdf = SearchablePdf(source, **options)
    pdf.add(page, picture)
    pdf.save(out)
    pdf.close()
    return out


def text_of(path, number=0):
    with pypdfium2.PdfDocument(path) as pdf:
        text = pdf[number].get_textpage().get_text_range()
    return [row.strip() for row in text.replace("\ufffe", "").splitlines() if row.strip()]


def plain(text):
    return text.replace("ﬁ", "fi")  # pdfium splits ligatures


@pytest.mark.parametrize("rotate", [0, 90, 180, 270])
@pytest.mark.parametrize("crop", [None, (20, 10, 290, 250)])
@pytest.mark.parametrize("skew", [0.0, 0.05])
def test_text_and_places_come_out_again(tmp_path, rotate, crop, skew):
    source = made(tmp_path / "a.pdf", rotate=rotate, crop=crop)
    page = page_of(source, skew=skew)
    out = written(page, source, tmp_path / "b.pdf")
    if rotate == 0:
        assert text_of(out) == [plain(text) for text in TEXTS]
    with pypdfium2.PdfDocument(out) as pdf:
        sheet = pdf[0]
        assert sheet.get_rotation() == rotate
        matrix = pixel_matrix(sheet, width=page.width, height=page.height)
        found = [each for each in characters(sheet, matrix) if each.box and each.text != " "]
    assert not any(each.visible for each in found)
    words = [word for line in page.lines for word in line.words]
    assert "".join(each.text for each in found) == plain("".join(word.text for word in words))
    for word in words:
        count = len(plain(word.text))
        own, found = found[:count], found[count:]
        xs, ys = zip(*((c.box[0::2], c.box[1::2]) for c in own), strict=True)
        box = np.min(xs), np.min(ys), np.max(xs), np.max(ys)
        assert np.abs(np.subtract(box, word.box)).max() < 2, word.text
    assert (pixels(out) == pixels(source)).all()


def test_pages_look_the_same_whatever_their_content_leaves(tmp_path):
    source = made(tmp_path / "a.pdf", scaled=True, text="drawn")
    page = page_of(source)
    out = written(page, source, tmp_path / "b.pdf")
    assert (pixels(out) == pixels(source)).all()
    assert (pixels(out, 1) == pixels(source, 1)).all()
    with pypdfium2.PdfDocument(out) as pdf:
        matrix = pixel_matrix(pdf[0], width=page.width, height=page.height)
        found = [c for c in characters(pdf[0], matrix) if c.box and not c.visible]
    assert found[0].box == pytest.approx((30, 30, 42, 54), abs=1)


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_a_page_that_was_turned_to_stand_upright(tmp_path, rotation):
    source = made(tmp_path / "a.pdf")
    page = page_of(source, rotation=rotation, texts=TEXTS[:2])
    out = written(page, source, tmp_path / "b.pdf")
    with pypdfium2.PdfDocument(out) as pdf:
        sides = {"width": page.width, "height": page.height}
        matrix = pixel_matrix(pdf[0], **sides, rotation=rotation)
        found = [each for each in characters(pdf[0], matrix) if each.box and each.text != " "]
    first = page.regions[0].lines[0].words[0]
    (start,) = (each.box for each in found if each.text == "Ü")
    assert start[:2] == pytest.approx(first.polygon[0], abs=1)
    assert start[2:] == pytest.approx((first.box[0] + 12, first.box[3]), abs=1)


@pytest.mark.parametrize("words", [True, False])
def test_pictures_become_pages(tmp_path, words):
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 255, (400, 500, 3), np.uint8))
    image.save(tmp_path / "a.jpg", dpi=(100, 100))
    blank = made(tmp_path / "blank.pdf")
    page = replace(page_of(blank, words=words), source=str(tmp_path / "a.jpg"))
    page = replace(page, width=500, height=400)
    out = written(page, None, tmp_path / "b.pdf", tmp_path / "a.jpg")
    assert text_of(out) == [plain(text) for text in TEXTS]
    with pypdfium2.PdfDocument(out) as pdf:
        assert pdf[0].get_size() == (360, 288)  # 100 dpi
        (picture,) = pdf[0].get_objects(filter=[pdfium.FPDF_PAGEOBJ_IMAGE])
        assert bytes(picture.get_data()) == (tmp_path / "a.jpg").read_bytes()
    # A picture on its side is shown upright.
    turned = replace(page, width=400, height=500, rotation=90.0)
    out = written(turned, None, tmp_path / "c.pdf", image)
    with pypdfium2.PdfDocument(out) as pdf:
        assert pdf[0].get_size() == (144, 180)  # without a resolution, 200 dpi
        shown = pdf[0].render(scale=200 / 72).to_numpy()[:, :, ::-1]
        upright = np.array(image.transpose(Image.Transpose.ROTATE_270))
        assert np.abs(shown.astype(int) - upright).mean() < 30
    assert text_of(out)[0] == "Über Größe"


def test_text_that_is_there_is_not_doubled(tmp_path):
    source = made(tmp_path / "a.pdf", text="Visible text")
    page = page_of(source, texts=TEXTS[:1])
    top = 2 * (260 - 212)
    there = Line(box_polygon((60, top, 200, top + 30)), text="Visible text")
    region = page.regions[0]
    page = replace(page, regions=(replace(region, lines=(*region.lines, there)),))
    out = written(page, source, tmp_path / "b.pdf")
    assert sorted(text_of(out)) == ["Visible text", "Über Größe"]
    # Once more: all is there. With other text: `replace` removes what is invisible.
    again = written(page, out, tmp_path / "c.pdf")
    assert sorted(text_of(again)) == sorted(text_of(out))
    lines = (replace(region.lines[0], text="Bessere", words=()), there)
    page = replace(page, regions=(replace(region, lines=lines),))
    better = written(page, out, tmp_path / "d.pdf", replace=True)
    assert sorted(text_of(better)) == ["Bessere", "Visible text"]
    assert (pixels(better) == pixels(source)).all()
    # A line that took its text from the PDF needs none.
    lines = (replace(region.lines[0], origin="pdf"),)
    page = replace(page, regions=(replace(region, lines=lines),))
    assert text_of(written(page, source, tmp_path / "e.pdf")) == ["Visible text"]


def test_equal_pages_give_equal_bytes(tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    source = made(tmp_path / "a.pdf")
    page = page_of(source)
    one, two = (written(page, source, tmp_path / f"{i}.pdf").read_bytes() for i in "bc")
    assert one == two
    assert len(one) - source.stat().st_size < 4000
    image = Image.new("L", (600, 520), 200)
    one, two = (written(page, None, tmp_path / f"{i}.pdf", image).read_bytes() for i in "de")
    assert one == two and b"(D:19700102000000" in one


def test_encrypted_sources(tmp_path):
    source = made(tmp_path / "a.pdf", encrypt="secret")
    with pytest.raises(UserError, match="cannot be opened"):
        SearchablePdf(source)
    with pytest.raises(UserError, match="allow it with --decrypt"):
        SearchablePdf(source, password="secret")
    page = Page(str(source), 1, 600, 520, page_of(made(tmp_path / "b.pdf")).regions)
    out = written(page, source, tmp_path / "c.pdf", password="secret", decrypt=True)
    assert text_of(out)[0] == "Über Größe"
    assert (pixels(out) == pixels(source, password="secret")).all()
