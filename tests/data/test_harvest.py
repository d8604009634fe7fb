"""Text lines from PDFs: polygons on the ink, text as written, and what must not become a line."""

import json
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image
from reportlab.lib.utils import ImageReader
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas

from graphkd.cli import main
from graphkd.data import catalog, lines
from graphkd.data.check.lines import check_lines
from graphkd.data.harvest import harvest_lines
from graphkd.errors import UserError
from graphkd.synthesis.kinds import lay_out
from graphkd.synthesis.styles import register_fonts

SIZE = (300, 400)


def pdf(path: Path, *pages, **options) -> Path:
    """A file with a page for every function of a canvas."""
    canvas = Canvas(str(path), pagesize=SIZE, **options)
    for paint in pages:
        canvas.setFont("Helvetica", 12)
        paint(canvas)
        canvas.showPage()
    canvas.save()
    return path


def some_text(canvas: Canvas) -> None:
    for number in range(6):
        canvas.drawString(40, 350 - 20 * number, f"Line number {number} of a page")


def harvested(tmp_path: Path, *pages, **options) -> tuple[list[dict], "object", Path]:
    """The records of one file, in page order, the result and the folder."""
    out = tmp_path / "out"
    result = harvest_lines([pdf(tmp_path / "a.pdf", *pages)], out, **options)
    rows = [json.loads(row) for row in (out / "train.jsonl").read_text().splitlines()]
    return rows, result, out


def texts(record: dict) -> list[str]:
    return [line["text"] for line in record["lines"]]


def gaps_to_ink(record: dict, folder: Path) -> np.ndarray:
    """How far the ink of each line is from the four sides of its polygon, in pixels (inside: > 0).

    For pages on which nothing but the lines is drawn, far from each other.
    """
    with Image.open(folder / record["path"]) as picture:
        grey = np.asarray(picture.convert("L"), int)
    assert grey.shape == (record["height"], record["width"])
    y, x = np.nonzero(grey < 150)
    ink = np.stack([x, y], axis=1) + 0.5
    found, used = [], np.zeros(len(ink), bool)
    for line in record["lines"]:
        points = np.array(line["polygon"])
        right, down = points[1] - points[0], points[3] - points[0]
        wide, high = np.linalg.norm(right), np.linalg.norm(down)
        assert abs(right @ down) < 0.01 * wide * high and high < 40
        u, v = (ink - points[0]) @ right / wide, (ink - points[0]) @ down / high
        near = (u > -6) & (u < wide + 6) & (v > -6) & (v < high + 6)
        used |= near
        u, v = u[near], v[near]
        found.append([u.min() - 0.5, v.min() - 0.5, wide - u.max() - 0.5, high - v.max() - 0.5])
    assert used.all()
    return np.array(found)


def test_lines_of_a_plain_page(tmp_path):
    (record,), result, out = harvested(tmp_path, some_text, dpi=144)
    assert (record["width"], record["height"]) == (600, 800) and record["document"] == "a"
    assert sorted(texts(record)) == [f"Line number {n} of a page" for n in range(6)]
    assert np.abs(gaps_to_ink(record, out)).max() < 1.3
    assert result.splits == {"train": (1, 1, 6)} and not any(result.counts.values())


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_turned_pages_keep_reading_direction(tmp_path, turn):
    def paint(canvas):
        canvas.setPageRotation(turn)
        canvas.drawString(40, 250, "Far from the corner")
        canvas.drawString(40, 30, "and near to it")

    (record,), _, out = harvested(tmp_path, paint, dpi=144)
    assert sorted(texts(record)) == ["Far from the corner", "and near to it"]
    assert np.abs(gaps_to_ink(record, out)).max() < 1.3
    points = np.array(record["lines"][0]["polygon"])
    angle = np.degrees(np.arctan2(*(points[1] - points[0])[::-1])) % 360
    assert angle == pytest.approx(turn)


@pytest.mark.parametrize("degrees", [-90, 7, 30, 45, 90, 180])
def test_turned_text_has_turned_polygons(tmp_path, degrees):
    def paint(canvas):
        canvas.translate(150, 200)
        canvas.rotate(degrees)
        canvas.drawString(-60, 0, "Turned text, quite long")
        canvas.drawString(-60, -40, "and another lying below")

    (record,), _, out = harvested(tmp_path, paint, dpi=144)
    assert sorted(texts(record)) == ["Turned text, quite long", "and another lying below"]
    gaps = gaps_to_ink(record, out)
    assert gaps.min() > -1.3 and gaps.max() < 1.8


def test_cropped_page(tmp_path):
    def paint(canvas):
        canvas.setCropBox((20, 30, 260, 380))
        some_text(canvas)
        canvas.drawString(40, 5, "below the visible part")

    (record,), result, out = harvested(tmp_path, paint, dpi=144)
    assert (record["width"], record["height"]) == (480, 700)
    assert len(record["lines"]) == 6 and np.abs(gaps_to_ink(record, out)).max() < 1.3
    assert sum(result.counts.values()) == 1


def test_what_is_not_seen_is_no_line(tmp_path):
    def paint(canvas):
        some_text(canvas)
        canvas.setFillColorRGB(1, 1, 1)
        canvas.drawString(40, 200, "white on white")
        canvas.setFillColorRGB(0, 0, 0)
        canvas.drawString(40, 150, "covered by a box")
        canvas.setFillColorRGB(1, 1, 1)
        canvas.rect(30, 140, 200, 30, stroke=0, fill=1)
        canvas.setFillColorRGB(0, 0, 0)
        hidden = canvas.beginText(40, 100)
        hidden.setTextRenderMode(3)
        hidden.textOut("hidden text")
        canvas.drawText(hidden)

    (record,), result, _ = harvested(tmp_path, paint)
    assert len(record["lines"]) == 6
    assert result.counts["lines without ink"] == 2
    assert result.counts["hidden characters"] == len("hiddentext")


def test_fake_bold_is_read_once(tmp_path):
    def paint(canvas):
        for shift in (0, 0.3, 0.6):
            canvas.drawString(40 + shift, 300, "Bold letters: off, baffle")
        for shift in (0, 0.4):
            at = 40 + shift
            for letter in "letter by letter":
                canvas.drawString(at, 200, letter)
                at += canvas.stringWidth(letter)

    (record,), _, out = harvested(tmp_path, paint, dpi=144)
    assert texts(record) == ["Bold letters: off, baffle", "letter by letter"]
    assert np.abs(gaps_to_ink(record, out)).max() < 1.5


def test_ligatures_and_soft_hyphens(tmp_path):
    file = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSerif.ttf"
    pdfmetrics.registerFont(TTFont("Serif", str(file)))

    def paint(canvas):
        canvas.setFont("Serif", 12)
        canvas.drawString(40, 300, "e\ufb03cient \ufb01sh o\ufb00 caf\u00e9")

    (record,), _, _ = harvested(tmp_path, paint)
    assert texts(record) == ["efficient fish off caf\u00e9"]


def test_grouping(tmp_path):
    """Columns and cells are lines of their own; scripts, word gaps and fonts break no line."""

    def paint(canvas):
        for y in (360, 345, 330):
            canvas.drawString(20, y, "left column of")
            canvas.drawString(160, y, "right column of")
        text = canvas.beginText(20, 280)
        text.textOut("The value x")
        text.setRise(4)
        text.setFont("Helvetica", 8)
        text.textOut("2")
        text.setRise(0)
        text.setFont("Times-Bold", 12)
        text.textOut(" is bold")
        canvas.drawText(text)
        canvas.setFont("Helvetica", 12)
        # In the order in which some programs write: the end of the line first.
        canvas.drawString(79, 240, "order of writing")
        canvas.drawString(20, 240, "The wrong")
        stretched = canvas.beginText(20, 200)
        stretched.setWordSpace(8)
        stretched.textOut("a justified line")
        stretched.setWordSpace(0)
        canvas.drawText(stretched)
        canvas.setFont("Helvetica", 40)
        canvas.drawString(20, 130, "D")
        canvas.setFont("Helvetica", 12)
        canvas.drawString(52, 148, "rop capitals span")
        canvas.drawString(52, 131, "two lines of text")
        canvas.drawString(20, 60, "\u2022")
        canvas.drawString(20, 30, "- - -")

    (record,), _, _ = harvested(tmp_path, paint)
    expected = ["left column of", "right column of"] * 3
    expected += ["The value x2 is bold", "The wrong order of writing", "a justified line", "D"]
    expected += ["rop capitals span", "two lines of text", "\u2022", "- - -"]
    assert sorted(texts(record)) == sorted(expected)
    assert sorted(line["text"] for line in record["lines"] if line["ignore"]) == ["- - -", "\u2022"]


def test_mirrored_text_is_ignored(tmp_path):
    def paint(canvas):
        some_text(canvas)
        canvas.scale(-1, 1)
        canvas.drawString(-200, 100, "seen in a mirror")

    (record,), _, out = harvested(tmp_path, paint)
    assert [line["text"] for line in record["lines"] if line["ignore"]] == ["seen in a mirror"]
    assert check_lines(out / "train.jsonl").clean


def noise(height: int, width: int) -> ImageReader:
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    return ImageReader(Image.fromarray(pixels))


def test_pictures_are_ignored_and_scans_left_out(tmp_path):
    def figure(canvas):
        some_text(canvas)
        canvas.drawImage(noise(20, 40), 100, 50, 100, 80)

    def scan(canvas):
        canvas.drawImage(noise(40, 30), 0, 0, *SIZE)
        layer = canvas.beginText(40, 300)
        layer.setTextRenderMode(3)
        layer.textOut("what a reader made of it")
        canvas.drawText(layer)

    def wallpaper(canvas):
        canvas.drawImage(noise(2, 2), 0, 0, *SIZE)
        canvas.setFillColorRGB(1, 1, 1)
        canvas.rect(30, 230, 240, 140, stroke=0, fill=1)
        canvas.setFillColorRGB(0, 0, 0)
        some_text(canvas)

    rows, result, _ = harvested(tmp_path, figure, scan, wallpaper, lambda canvas: None, dpi=72)
    assert [Path(row["path"]).name for row in rows] == ["0001.png", "0003.png"]
    (ignored,) = [line for line in rows[0]["lines"] if line["ignore"]]
    assert np.allclose(ignored["polygon"], [(100, 270), (200, 270), (200, 350), (100, 350)], atol=1)
    assert not any(line["ignore"] for line in rows[1]["lines"]) and len(rows[1]["lines"]) == 6
    assert result.counts["scanned pages"] == 1 and result.counts["pages without text"] == 1


def test_splits_keep_documents_together_and_copies_out(tmp_path):
    folder = tmp_path / "pdfs"
    for number in range(5):
        (folder / str(number)).mkdir(parents=True)
        pdf(folder / str(number) / "same name.pdf", *[some_text] * (number + 1))
    (folder / "copy.pdf").write_bytes((folder / "3" / "same name.pdf").read_bytes())
    (folder / "readme.txt").write_text("no PDF")
    out = tmp_path / "out"
    result = harvest_lines([folder], out, shares={"train": 0.5, "val": 0.5}, picture="jpg", dpi=50)
    rows = {
        split: [json.loads(row) for row in (out / f"{split}.jsonl").read_text().splitlines()]
        for split in ("train", "val")
    }
    documents = {split: {row["document"] for row in found} for split, found in rows.items()}
    assert len(documents["train"] | documents["val"]) == 5
    assert not documents["train"] & documents["val"] and all(documents.values())
    assert sum(map(len, rows.values())) == 15
    assert result.counts["files that are copies of another"] == 1


def test_damaged_and_encrypted_files_are_named_and_left_out(tmp_path, capsys, monkeypatch):
    good = pdf(tmp_path / "good.pdf", some_text, some_text)
    (tmp_path / "damaged.pdf").write_bytes(good.read_bytes()[:300])
    pdf(tmp_path / "locked.pdf", some_text, encrypt="secret")
    words = ["data", "harvest", str(tmp_path), "--labels", "lines", "--dpi", "60"]
    assert main([*words, "--out", str(tmp_path / "one")]) == 1
    printed = capsys.readouterr()
    assert "train: 1 documents, 2 pages, 12 lines" in printed.out
    (damaged, locked) = sorted(row for row in printed.err.splitlines() if "not read" in row)
    assert "damaged.pdf: damaged PDF" in damaged
    assert "locked.pdf: encrypted: it needs one (--password-file)" in locked
    (tmp_path / "password").write_text("wrong\n")
    words += ["--password-file", str(tmp_path / "password")]
    assert main([*words, "--out", str(tmp_path / "two")]) == 1
    assert "encrypted: the password is wrong" in capsys.readouterr().err
    (tmp_path / "password").write_text("secret\n")
    (tmp_path / "damaged.pdf").unlink()
    assert main([*words, "--split", "50,50", "--out", str(tmp_path / "three")]) == 0
    assert "val: 1 documents" in capsys.readouterr().out
    with pytest.raises(UserError, match="nothing to harvest in 1 files: .*password"):
        harvest_lines([tmp_path / "locked.pdf"], tmp_path / "four")
    assert not (tmp_path / "four").exists()
    with pytest.raises(UserError, match="no such file"):
        harvest_lines([tmp_path / "nothing.pdf"], tmp_path / "four")


def test_harvest_can_be_registered_and_trained_on(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "datasets"))
    catalog.unregister_all()
    _, _, out = harvested(tmp_path, some_text, dpi=150)
    report = check_lines(out / "train.jsonl")
    assert report.clean, [problem.line() for problem in report.cleaned.problems]
    assert main(["data", "register", "mine", "--lines", str(out / "train.jsonl")]) == 0
    (page,) = lines.training_dicts(["mine"])
    assert len(page["lines"]) == 6 and page["document"] == "a"
    catalog.unregister_all()


def test_generated_pages_are_harvested_as_they_were_laid_out(tmp_path):
    """Two ways to the same polygons: the layout of a page, and its PDF's text layer."""
    register_fonts()
    folder, sheets = tmp_path / "pages", {}
    folder.mkdir()
    for index in range(8):
        sheet = sheets[str(index)] = lay_out(np.random.default_rng([9, index]))
        sheet.raster(64)
        (folder / f"{index}.pdf").write_bytes(sheet.pdf)
    harvest_lines([folder], tmp_path / "out", shares={"all": 1.0}, dpi=144)
    found = same = 0
    for row in (tmp_path / "out" / "all.jsonl").read_text().splitlines():
        record = json.loads(row)
        known: dict[str, list[np.ndarray]] = {}
        for line in sheets[record["document"]].lines:
            if any(map(str.isalnum, line.text)):
                known.setdefault(line.text, []).append(np.array(line.box) * 2)
        found += sum(map(len, known.values()))
        for line in record["lines"]:
            box = np.concatenate([np.min(line["polygon"], axis=0), np.max(line["polygon"], axis=0)])
            same += any(np.abs(box - other).max() < 2.5 for other in known.get(line["text"], []))
    assert found > 400 and same > 0.95 * found
