"""The flow of a page with toy models: what is found where, limits, rotation, confidence."""

import numpy as np
import pytest

import graphkd
import graphkd.read.reader
from graphkd.errors import UserError
from graphkd.predict.sources import list_pages, opened
from graphkd.read.reader import Facts, Options, Reader, confidence, grade, load_models, turned
from tests.predict.files import pdf, write_onnx
from tests.read.models import page_of, save, write_models, write_reader

COLUMNS = page_of((20, 60, "ab a"), (20, 100, "ba"), (170, 60, "ab"), (170, 100, "aba"))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return load_models(write_models(tmp_path_factory.mktemp("models")), threads=1)


@pytest.fixture
def read(models, tmp_path):
    def call(pixels, **options):
        (ref,) = list_pages(save(tmp_path / "page.png", pixels))
        with opened(ref, dpi=200) as raw:
            return Reader(models, Options(**options)).read(raw)

    return call


def test_two_columns_are_read_in_order(read):
    page, pixels, facts = read(COLUMNS)
    assert [line.text for line in page.lines] == ["ab a", "ba", "ab", "aba"]
    assert np.array_equal(pixels, COLUMNS) and facts.notes == []
    assert {"lines", "layout", "assign", "cut", "read", "words", "order"} <= set(facts.ms)
    columns = [region for region in page.regions if region.found_by == "lines"]
    assert [region.id for region in columns] == ["r2", "r3"] and page.order_by == "xycut"
    first = columns[0].lines[0]
    assert first.id == "r2l1" and [word.text for word in first.words] == ["ab", "a"]
    assert first.box == pytest.approx((20, 60, 116, 84), abs=3)
    assert first.words[1].box == pytest.approx((92, 60, 116, 84), abs=6)
    assert first.words[1].id == "r2l1w2"
    assert len(first.baseline) >= 2 and first.origin == "ocr"
    assert first.confidence == pytest.approx(0.9) and page.confidence == pytest.approx(0.9)
    assert page.expected_cer == pytest.approx(0.1)


def test_what_options_leave_out(read):
    page, _, _ = read(COLUMNS, words=False)
    assert all(line.text and not line.words for line in page.lines)
    page, _, _ = read(COLUMNS, min_conf=0.95)
    assert len(list(page.lines)) == 4 and not page.text.strip() and page.confidence is None
    page, _, _ = read(COLUMNS, chars=True)
    word = next(page.lines).words[0]
    assert "".join(character[0] for character in word.characters) == word.text
    page, _, _ = read(COLUMNS, order="none")
    assert page.order_by == "score"


def test_a_blank_page_and_a_page_of_one_pixel(read):
    blank, _, _ = read(page_of())
    assert list(blank.lines) == [] and blank.confidence is None and blank.text == ""
    dot, _, _ = read(np.full((1, 1, 3), 255, np.uint8))
    assert (dot.width, dot.height) == (1, 1)


def test_a_turned_page(read):
    page, pixels, _ = read(turned(COLUMNS, 90), rotate="270")
    assert np.array_equal(pixels, COLUMNS) and page.rotation == 270
    assert [line.text for line in page.lines] == ["ab a", "ba", "ab", "aba"]
    # Lines that stand upright are seen without being told.
    page, _, _ = read(turned(COLUMNS, 90))
    assert page.rotation == 270 and next(page.lines).text == "ab a"
    page, _, _ = read(COLUMNS)
    assert page.rotation == 0


def test_another_rotation_needs_a_clearly_better_reading(models):
    """A recogniser that is sure of lines whose left end is dark."""

    class Toy:
        header, charset, height, decoder = models.text.header, models.text.charset, 32, "ctc"
        prepare = staticmethod(models.text.prepare)
        low = 0.3

        def frames(self, batch):
            out = dict(models.text.frames(batch))
            lines = np.stack([each.content[0] for each in batch])
            sure = lines[:, 16, 6, 0] < 40  # an a
            out["best_score"] = np.where(sure[:, None], 0.9, self.low).repeat(
                out["best"].shape[1], 1
            )
            return out

    upside_down = turned(page_of((20, 60, "abab"), (20, 100, "ab ab")), 180)
    toy = Toy()
    reader = Reader(models._replace(text=toy))
    lines = reader._lines(upside_down, Facts())
    assert reader._rotation(lines, upside_down) == 180
    toy.low = 0.8
    assert reader._rotation(lines, upside_down) == 0


def test_small_print_in_a_pdf_is_drawn_once_more(models, tmp_path):
    from reportlab.pdfgen.canvas import Canvas

    canvas = Canvas(str(tmp_path / "a.pdf"), pagesize=(200, 200))
    canvas.setFillColorRGB(0, 0.47, 0.47)
    canvas.rect(20, 100, 100, 6, stroke=0, fill=1)  # 16.7 pixels at 200 dpi
    canvas.save()
    (ref,) = list_pages(tmp_path / "a.pdf")
    with opened(ref, dpi=200) as raw:
        page, pixels, _ = Reader(models).read(raw)
        fixed, _, _ = Reader(models, Options(dpi=200)).read(raw)
    assert 350 < page.dpi <= 400 and pixels.shape[0] == pytest.approx(page.dpi * 200 / 72, abs=1)
    assert fixed.dpi == 200
    with opened(ref, dpi=200, max_pixels=250_000) as raw:
        page, pixels, _ = Reader(models, Options(max_pixels=250_000)).read(raw)
    assert pixels.shape[0] * pixels.shape[1] <= 250_000


def test_large_pages_are_drawn_smaller_and_large_pictures_refused(tmp_path):
    (ref,) = list_pages(pdf(tmp_path / "a.pdf", pages=1, size=(144, 72)))
    with opened(ref, dpi=200, max_pixels=10_000) as raw:
        height, width = raw.pixels.shape[:2]
        assert height * width <= 10_000 and width / height == pytest.approx(2, rel=0.03)
    (ref,) = list_pages(save(tmp_path / "a.png", page_of()))
    with opened(ref, dpi=200, max_pixels=10_000) as failure:
        assert "400" in failure.reason and "million" in failure.reason


def test_what_is_too_much_is_cut_off_with_a_note(read, monkeypatch):
    monkeypatch.setattr(graphkd.read.reader, "MOST_LINES", 2)
    page, _, facts = read(COLUMNS)
    assert len(list(page.lines)) == 2 and facts.notes == ["4 lines; only 2 are kept"]
    monkeypatch.setattr(graphkd.read.reader, "MOST_LINES", 9)
    monkeypatch.setattr(graphkd.read.reader, "MOST_CHARACTERS", 6)
    page, _, facts = read(COLUMNS)
    assert sum(len(line.text) for line in page.lines) <= 6 and len(list(page.lines)) == 4
    assert facts.notes == ["more than 6 characters; the rest is left out"]


def test_grades():
    assert confidence([]) == {"confidence": None, "expected_cer": None} and grade(None) is None
    assert [grade(value) for value in (0.0, 0.01, 0.02, 0.08, 0.5)] == ["A", "A", "B", "C", "D"]


def test_options_and_folders_are_checked(tmp_path):
    for options in ({"rotate": "45"}, {"order": "x"}, {"direction": "up"}, {"min_conf": 2}):
        with pytest.raises(UserError, match="--"):
            Options(**options)
    with pytest.raises(UserError, match="give a folder"):
        load_models(tmp_path / "gone")
    write_reader(tmp_path / "text.onnx")
    models = load_models(tmp_path)  # what is not there comes from the package
    assert [model.name for model in models] == ["student.onnx", "lines.onnx", "text.onnx"]
    assert models.text.classes != load_models().text.classes
    write_onnx(tmp_path / "one.onnx")
    write_onnx(tmp_path / "two.onnx")
    with pytest.raises(UserError, match="a second model for layout"):
        load_models(tmp_path)


def text_pdf(path):
    """A bar that the toy models read as "a", with the word "hidden" in the bar's colour."""
    from reportlab.pdfgen.canvas import Canvas

    canvas = Canvas(str(path), pagesize=(200, 200))
    canvas.setFillColorRGB(0, 0.47, 0.47)
    canvas.rect(20, 100, 100, 24, stroke=0, fill=1)
    canvas.setFont("Helvetica", 20)
    canvas.drawString(24, 105, "hidden")
    canvas.save()
    return path


@pytest.mark.parametrize(
    ("text", "said"), [("ocr", ("a", "ocr")), ("pdf", ("hidden", "pdf")), ("auto", ("a", "ocr"))]
)
def test_the_text_of_a_pdf(models, tmp_path, text, said):
    (ref,) = list_pages(text_pdf(tmp_path / "a.pdf"))
    with opened(ref, dpi=200) as raw:
        page, _, _ = Reader(models, Options(text=text)).read(raw)
    (line,) = page.lines
    assert (line.text, line.origin) == said and len(line.baseline) > 1
    # Of the PDF's own points, y upwards: the upper left corner of the page.
    assert [row[2] for row in page.to_source] == pytest.approx([0, 200])


def test_text_that_is_not_what_is_seen_is_read_anew(models, tmp_path, monkeypatch):
    known = graphkd.read.reader.with_pdf_text
    monkeypatch.setattr(
        graphkd.read.reader,
        "with_pdf_text",
        lambda *args, **options: known(*args, **{**options, "source": "pdf"}),
    )
    (ref,) = list_pages(text_pdf(tmp_path / "a.pdf"))
    with opened(ref, dpi=200) as raw:
        page, _, facts = Reader(models).read(raw)
    assert [line.text for line in page.lines] == ["a"] and "not what is seen" in facts.notes[0]


def test_reading_from_python(tmp_path):
    folder = write_models(tmp_path / "models")
    document = graphkd.read_document([COLUMNS, COLUMNS], weights=folder, words=False)
    assert len(document) == 2 and document.pages[0].text.endswith("ab a\nba\n\nab\naba")
    with pytest.raises(UserError, match="colour"):
        graphkd.read_document(COLUMNS, weights=folder, colour=True)
