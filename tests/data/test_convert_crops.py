"""Sets of line pictures from the formats of tools, and lines cut out of pages."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from graphkd.cli import main
from graphkd.commands.data.convert import CROPS
from graphkd.data.check.crops import check_crops, read_rows
from graphkd.data.convert.crops import CROP_KINDS, convert_crops
from graphkd.data.convert.cut import cut_lines, kind_of
from graphkd.errors import UserError
from graphkd.text.charset import read_charset
from graphkd.text.prepare import prepare_line
from tests.data.crop_sets import crop_set, draw


def rows_of(folder, split):
    rows = read_rows(folder / f"{split}.tsv", lambda problem: None)
    assert all((folder / name).is_file() for name, _ in rows)
    return rows


def texts_of(folder, split):
    return sorted(text for _, text in rows_of(folder, split))


def test_the_command_knows_every_kind():
    assert set(CROPS) == set(CROP_KINDS)


def test_paddle_labels_with_their_own_image_folder(tmp_path):
    draw(tmp_path / "pictures/train/a.png", "one")
    draw(tmp_path / "pictures/train/b.png", "two")
    (tmp_path / "labels").mkdir()
    content = '["train/a.png", "train/b.png"]\tsame\ntrain/none.png\tx\nno tab\n'
    (tmp_path / "labels/rec_gt_train.txt").write_text(content)
    done = convert_crops(
        "tsv-crops", tmp_path / "labels", tmp_path / "out", images=tmp_path / "pictures"
    )
    assert rows_of(tmp_path / "out", "train") == [
        ("train/a.png", "same"),
        ("train/b.png", "same"),
    ]
    assert done.splits == {"train": 2} and len(done.left_out) == 2
    assert not check_crops(tmp_path / "out/train.tsv").cleaned.problems


def test_gt_txt_pairs_come_and_go(tmp_path, capsys):
    path = crop_set(tmp_path / "in", (("a.png", "one "), ("b.png", "ü\ttwo")))
    words = ["data", "convert", "tsv-crops", str(path), "--out", str(tmp_path / "pairs")]
    assert main([*words, "--gt-txt"]) == 0
    assert (tmp_path / "pairs/train/a.gt.txt").read_text(encoding="utf-8") == "one \n"
    (tmp_path / "pairs/train/lonely.gt.txt").write_text("x")
    (tmp_path / "pairs/train/a.png").rename(tmp_path / "pairs/train/a.nrm.png")
    out = str(tmp_path / "back")
    assert main(["data", "convert", "gt-txt", str(tmp_path / "pairs"), "--out", out]) == 1
    assert "lonely.gt.txt: no picture" in capsys.readouterr().out
    rows = [("train/a.nrm.png", "one "), ("train/b.png", "ü\ttwo")]
    assert rows_of(tmp_path / "back", "train") == rows


def test_the_official_words_of_icdar2015(tmp_path):
    draw(tmp_path / "ch4_training_word_images_gt/word_1.png", "a")
    draw(tmp_path / "ch4_test_word_images_gt/word_1.png", "bbbb")
    gt = '\ufeffword_1.png, "say \\"hi\\", you"\nword_9.png, "lost"\n'
    (tmp_path / "ch4_training_word_images_gt/gt.txt").write_text(gt, encoding="utf-8")
    (tmp_path / "Challenge4_Test_Task3_GT.txt").write_text('word_1.png, "2"\n')
    done = convert_crops("icdar2015-words", tmp_path, tmp_path.with_name("out15"))
    out = tmp_path.with_name("out15")
    assert rows_of(out, "train") == [("train/word_1.png", 'say "hi", you')]
    assert rows_of(out, "test") == [("test/word_1.png", "2")]
    assert Image.open(out / "test/word_1.png").width == 48
    assert len(done.left_out) == 1


def test_lmdb_needs_its_package_or_gives_its_rows(tmp_path):
    (tmp_path / "train").mkdir()
    try:
        import lmdb
    except ImportError:
        with pytest.raises(UserError, match="needs the package lmdb"):
            convert_crops("lmdb-crops", tmp_path, tmp_path.with_name("out_lmdb"))
        return
    draw(tmp_path / "a.png", "one")
    data = (tmp_path / "a.png").read_bytes()
    with lmdb.open(str(tmp_path / "train")) as stored, stored.begin(write=True) as writing:
        writing.put(b"num-samples", b"2")
        writing.put(b"image-000000001", data)
        writing.put(b"label-000000001", "né".encode())
    out = tmp_path.with_name("out_lmdb")
    done = convert_crops("lmdb-crops", tmp_path, out)
    assert rows_of(out, "train") == [("train/000000001.png", "né")] and len(done.left_out) == 1


def test_shares_divide_by_group(tmp_path):
    rows = [(f"book{i % 5}/{i}.png", f"text {i}") for i in range(20)]
    path = crop_set(tmp_path / "in", rows, name="all.tsv")
    out = tmp_path / "out"
    convert_crops(
        "tsv-crops", path, out, shares={"train": 0.6, "val": 0.4}, group="folder", copy=True
    )
    books = [
        {Path(name).parent.name for name, _ in rows_of(out, split)} for split in ("train", "val")
    ]
    assert len(books[0]) == 3 and len(books[1]) == 2 and not books[0] & books[1]


def test_nothing_to_convert_is_one_line(tmp_path):
    for kind in set(CROPS) - {"lmdb-crops"}:
        with pytest.raises(UserError, match="no picture with a text"):
            convert_crops(kind, tmp_path, tmp_path / "out")
    with pytest.raises(UserError, match="no such file"):
        convert_crops("gt-txt", tmp_path / "none", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def sheet(path):
    """A page with two lines: dark bars of 60 and 80 pixels, each with a hook at its left end."""
    pixels = np.full((200, 300, 3), 230, np.uint8)
    for top, right in ((40, 110), (90, 130)):
        pixels[top + 8 : top + 12, 50:right] = 0
        pixels[top + 2 : top + 12, 50:54] = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


PAGE = """<PcGts xmlns="http://schema.primaresearch.org/PAGE/gts/pagecontent/2019-07-15">
<Page imageFilename="a.png" imageWidth="300" imageHeight="200"><TextRegion id="r">
<TextLine id="1"><Coords points="45,38 115,38 115,60 45,60"/><Baseline points="45,52 115,52"/>
  <TextEquiv><Unicode>first line</Unicode></TextEquiv></TextLine>
<TextLine id="2"><Baseline points="45,102 135,102"/>
  <Word id="w1"><TextEquiv><Unicode>two</Unicode></TextEquiv></Word>
  <Word id="w2"><TextEquiv><Unicode>words</Unicode></TextEquiv></Word></TextLine>
<TextLine id="3"><Coords points="45,138 115,138 115,160 45,160"/></TextLine>
<TextLine id="4"><Coords points="45,138 115,138 115,139 45,139"/>
  <TextEquiv><Unicode>thin</Unicode></TextEquiv></TextLine>
</TextRegion></Page></PcGts>"""

ALTO = """<alto xmlns="http://www.loc.gov/standards/alto/ns-v4#"><Description>
<sourceImageInformation><fileName>a.png</fileName></sourceImageInformation></Description>
<Layout><Page WIDTH="600" HEIGHT="400"><PrintSpace><TextBlock>
<TextLine ID="1" HPOS="90" VPOS="76" WIDTH="140" HEIGHT="44" BASELINE="90,104 230,104">
  <Shape><Polygon POINTS="90,76 230,76 230,120 90,120"/></Shape>
  <String CONTENT="first"/><String CONTENT="line"/></TextLine>
</TextBlock></PrintSpace></Page></Layout></alto>"""


@pytest.mark.parametrize("content", [PAGE, ALTO], ids=["page", "alto"])
def test_lines_are_cut_from_page_and_alto(tmp_path, content):
    sheet(tmp_path / "in/a.png")
    (tmp_path / "in/a.xml").write_text(content)
    done = cut_lines(tmp_path / "in", tmp_path / "out", picture="png", gt_txt=True)
    rows = rows_of(tmp_path / "out", "lines")
    assert rows[0] == ("lines/a/a_0000.png", "first line")
    assert (tmp_path / "out/lines/a/a_0000.gt.txt").read_text() == "first line\n"
    first = np.array(Image.open(tmp_path / "out" / rows[0][0]))
    assert first.shape == (24, 72, 3) and first[5:12, 7:9].max() < 30
    if content is PAGE:
        assert rows[1] == ("lines/a/a_0001.png", "two words")
        assert done.counts == {
            "lines without text": 1,
            "lines that are too thin or off the page": 1,
        }


@pytest.mark.parametrize(
    ("content", "good", "bad"),
    [
        (PAGE, "45,52 115,52", "45,nan 115,52"),
        (ALTO, "90,104 230,104", "90,104 230,--"),
    ],
    ids=["page", "alto"],
)
def test_a_damaged_baseline_costs_no_line_that_has_an_outline(tmp_path, content, good, bad):
    sheet(tmp_path / "in/a.png")
    (tmp_path / "in/a.xml").write_text(content.replace(good, bad))
    done = cut_lines(tmp_path / "in", tmp_path / "out")
    assert "first line" in texts_of(tmp_path / "out", "lines") and not done.left_out


def test_a_turned_page_gives_the_same_lines(tmp_path):
    import cv2

    sheet(tmp_path / "in/a.png")
    (tmp_path / "in/a.xml").write_text(PAGE)
    cut_lines(tmp_path / "in", tmp_path / "out", picture="png")
    matrix = cv2.getRotationMatrix2D((150, 100), 8, 1)
    page = cv2.warpAffine(
        np.array(Image.open(tmp_path / "in/a.png")), matrix, (300, 200), borderValue=(230,) * 3
    )
    polygon = [[45, 38], [115, 38], [115, 60], [45, 60]]
    moved = (np.hstack([np.array(polygon) - 0.5, np.ones((4, 1))]) @ matrix.T + 0.5).tolist()
    (tmp_path / "turned").mkdir()
    Image.fromarray(page).save(tmp_path / "turned/b.png")
    record = {"path": "b.png", "width": 300, "height": 200, "document": "my book"}
    record["lines"] = [
        {"polygon": moved, "text": "first\nline", "ignore": False},
        {"polygon": moved, "text": "###", "ignore": True},
    ]
    (tmp_path / "turned/train.jsonl").write_text(json.dumps(record) + "\n")
    done = cut_lines(tmp_path / "turned", tmp_path / "out2", picture="png")
    assert done.counts == {"ignored lines": 1}
    assert rows_of(tmp_path / "out2", "train") == [("train/my_book/b_0000.png", "first line")]
    upright, tilted = (
        prepare_line(np.array(Image.open(path)))[0].astype(int)
        for path in (
            tmp_path / "out/lines/a/a_0000.png",
            tmp_path / "out2/train/my_book/b_0000.png",
        )
    )
    alike = [np.corrcoef(each.ravel(), tilted.ravel())[0, 1] for each in (upright, upright[::-1])]
    assert alike[0] > 0.85 > alike[1]


def test_lines_of_a_pdf_are_harvested_and_cut(tmp_path):
    from graphkd.data.harvest import harvest_lines
    from tests.data.test_harvest import pdf, some_text

    harvest_lines([pdf(tmp_path / "a.pdf", some_text)], tmp_path / "pages")
    done = cut_lines(tmp_path / "pages", tmp_path / "out", picture="png")
    assert sum(done.splits.values()) == 6 and not done.left_out
    (split,) = done.splits
    for number, (name, text) in enumerate(rows_of(tmp_path / "out", split)):
        assert text == f"Line number {number} of a page" and name.startswith(f"{split}/a/")
        dark = np.array(Image.open(tmp_path / "out" / name).convert("L")) < 128
        assert dark.mean() > 0.05 and not dark[[0, -1]].any() and not dark[:, [0, -1]].any()


def test_lines_are_cut_by_paddle_labels_of_pages(tmp_path):
    sheet(tmp_path / "a.png")
    points = [[45, 38], [115, 38], [115, 60], [45, 60]]
    items = [{"transcription": text, "points": points} for text in ("first line", "###")]
    (tmp_path / "Label.txt").write_text(f"images/a.png\t{json.dumps(items)}\n")
    done = cut_lines(tmp_path / "Label.txt", tmp_path / "out", images=tmp_path)
    assert texts_of(tmp_path / "out", "lines") == ["first line"]
    assert done.counts == {"ignored lines": 1}


def test_pages_of_a_document_stay_together(tmp_path):
    records = []
    for i in range(12):
        sheet(tmp_path / f"in/{i}.png")
        polygon = [[45, 38], [115, 38], [115, 60], [45, 60]]
        lines = [{"polygon": polygon, "text": f"page {i}", "ignore": False}]
        about = {"path": f"{i}.png", "width": 300, "height": 200, "document": f"d{i % 4}"}
        records.append({**about, "lines": lines})
    (tmp_path / "in/lines.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    done = cut_lines(tmp_path / "in", tmp_path / "out", shares={"train": 0.75, "val": 0.25})
    assert done.splits == {"train": 9, "val": 3}
    folders = {Path(name).parts[1] for name, _ in rows_of(tmp_path / "out", "val")}
    assert len(folders) == 1


def test_the_command_cuts_registers_and_counts_characters(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    sheet(tmp_path / "in/a.png")
    (tmp_path / "in/a.xml").write_text(PAGE)
    (tmp_path / "in/b.xml").write_text(PAGE.replace("a.png", "none.png"))
    out = tmp_path / "out"
    assert main(["data", "cut", str(tmp_path / "in"), "--out", str(out)]) == 1
    said = capsys.readouterr().out
    assert "none.png" in said and "left out: 1 lines without text" in said and "2 lines" in said
    labels = str(out / "lines.tsv")
    charset = str(tmp_path / "c.txt")
    assert main(["data", "charset", labels, "--least", "2", "-o", charset]) == 0
    said = capsys.readouterr().out
    assert "U+0066" in said and "2 of 2 labels lose some" in said
    assert read_charset(charset).entries == tuple(" iorstw")
    assert main(["data", "charset", labels, "--norm", "nfd"]) == 2
    assert main(["data", "cut", str(tmp_path / "none"), "--out", str(tmp_path / "x")]) == 2


def test_what_the_labels_are_is_found_out(tmp_path):
    (tmp_path / "a.xml").write_text("<x/>")
    with pytest.raises(UserError, match="name the format with --kind"):
        kind_of(tmp_path)
    (tmp_path / "b.xml").write_text(ALTO)
    assert kind_of(tmp_path) == "alto-lines"
    (tmp_path / "Label.txt").write_text("")
    assert kind_of(tmp_path / "Label.txt") == "paddle-lines"
    (tmp_path / "train.jsonl").write_text("")
    assert kind_of(tmp_path) == "hub"
