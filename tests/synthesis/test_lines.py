"""Generated lines: reproducible, every character drawn by a face that has it and in the picture."""

import json
import time
import unicodedata
from collections import Counter

import cv2
import numpy as np
import pytest
from matplotlib import font_manager
from PIL import Image

from graphkd.commands import lines as command
from graphkd.errors import UserError
from graphkd.synthesis import (
    CROPS,
    LineSplit,
    ensure,
    generate_lines,
    line_folders,
    make_line,
    wear,
)
from graphkd.synthesis.faces import EM, MOST, faces, faces_of
from graphkd.synthesis.lines import RARE_EACH, RARE_EVERY, MadeCrop, clusters
from graphkd.synthesis.texts import LATIN
from tests.synthesis.test_command import parsed

COUNT = 320


@pytest.fixture(scope="module")
def made() -> list[MadeCrop]:
    return [make_line(5, index) for index in range(COUNT)]


def test_same_seed_and_index_give_the_same_line(made):
    for index in (3, 7, 50):
        again = make_line(5, index)
        assert again.image.tobytes() == made[index].image.tobytes()
        assert again == MadeCrop(again.image, *list(vars(made[index]).values())[1:])
    assert make_line(6, 3).image.tobytes() != made[3].image.tobytes()


def test_texts_are_what_a_reader_can_be_asked_for(made):
    known = set(LATIN)
    for line in made:
        assert line.text and line.text == line.text.strip() and "  " not in line.text
        assert line.text == unicodedata.normalize("NFC", line.text)
        assert set(clusters(line.text)) <= known
    assert 8 < np.mean([len(line.text) for line in made]) < 45
    kinds = Counter(line.kind for line in made)
    assert set(kinds) == {"book", "old", "receipt", "office", "typescript", "rare"}
    assert kinds["rare"] == COUNT // RARE_EVERY
    assert len({line.text for line in made}) > 0.93 * COUNT


def test_pictures_look_like_crops(made):
    heights = [line.image.shape[0] for line in made]
    assert 18 <= min(heights) and max(heights) <= 62
    assert all(line.image.dtype == np.uint8 for line in made)
    assert 0.08 < np.mean([line.image.ndim == 3 for line in made]) < 0.35
    contrast = [np.ptp(np.percentile(line.image, (1, 99))) for line in made]
    assert min(contrast) > 25 and np.mean(contrast) > 100
    assert len({line.face for line in made}) > 20


def test_every_character_lies_in_the_picture(made):
    for line in made:
        height, width = line.image.shape[:2]
        boxes = np.array(line.boxes)
        assert (boxes[:, :2] > -0.51).all() and (boxes[:, 2] < width + 0.51).all(), line
        assert (boxes[:, 3] < height + 0.51).all(), line
        # One box a character that is no space; a ligature has one for two or three.
        letters = len(clusters(line.text.replace(" ", "")))
        assert letters / 3 <= len(boxes) <= letters
        assert 0 < line.baseline[1] < height + 2 and line.baseline[0] < line.baseline[2]


def test_ink_is_where_the_boxes_are(monkeypatch):
    """Without paper, scan and neighbours all ink lies in the boxes, and every box has some."""
    monkeypatch.setattr(wear, "paper", lambda rng, shape, old: np.ones(shape, np.float32))
    monkeypatch.setattr(wear, "scan", lambda rng, image: image)
    monkeypatch.setattr(wear, "dots", lambda rng, ink: ink)
    monkeypatch.setattr(wear, "press", lambda rng, ink, wear: ink)
    monkeypatch.setattr(wear, "thermal", lambda rng, ink: ink)
    for name in ("_neighbours", "_rule"):
        monkeypatch.setattr(f"graphkd.synthesis.lines._Setting.{name}", lambda *args: None)
    monkeypatch.setattr(cv2, "GaussianBlur", lambda image, size, spread: image * 1)
    checked = 0
    for index in range(60):
        line = make_line(5, index)
        grey = line.image if line.image.ndim == 2 else line.image.min(axis=2)
        ground = int(np.median(grey))
        ink = np.abs(grey.astype(int) - ground) > 60
        inside = np.zeros_like(ink)
        for x0, y0, x1, y1 in line.boxes:
            rows = slice(max(int(y0) - 2, 0), int(y1) + 3)
            columns = slice(max(int(x0) - 2, 0), int(x1) + 3)
            inside[rows, columns] = True
            checked += bool(ink[rows, columns].any())
        assert ink.any() and not (ink & ~inside).any(), index
    assert checked > 500


def test_every_entry_of_the_charset_comes_in_turn():
    characters = tuple("abcdefgÀßœ€?7")
    needed = len(characters) * RARE_EVERY // RARE_EACH + RARE_EVERY
    seen = Counter(
        character
        for index in range(RARE_EVERY - 1, 2 * needed, RARE_EVERY)
        for character in make_line(9, index, characters=characters).text
    )
    assert all(seen[character] >= 2 for character in characters), seen


def test_no_face_draws_what_it_lacks():
    for face in faces():
        missing = face.font.getmask("\U0010fffe").getbbox()
        for character in "agÉßſœ€–7":
            if not face.has(character):
                continue
            mask = face.glyph(character).ink
            assert mask.size, (face.name, character)
            box = face.font.getmask("\U0010fffe")
            same = missing is not None and bytes(box) == mask.tobytes()
            assert not same, f"{face.name} draws the box of a missing glyph for {character}"
    assert not any(face.has("\U0010fffe") for face in faces())
    assert any(face.has("ſ") for face in faces()) and any(face.has("ç") for face in faces())


def test_faces_have_styles_that_fit_them():
    by_name = {face.name: face.style for face in faces()}
    assert by_name["DejaVuSans"] == by_name["Vera"] == "sans"
    assert by_name["DejaVuSansMono"] == "mono" and by_name["coo_____"] == "typed"
    assert by_name["STIXGeneral"] == by_name["DejaVuSerif"] == "serif"
    assert not any(name.startswith(("LastResort", "STIXNonUni", "cmsy", "cmr")) for name in by_name)
    assert all(EM / 4 <= face.x_height <= EM for face in faces())
    everything = {face for family in faces_of("a style without faces") for face in family}
    assert everything == set(faces())
    assert all(len(family) <= MOST for family in faces_of("sans"))


def test_faces_of_the_dependencies_are_enough(monkeypatch):
    """A machine without fonts has them, and they draw nearly all of the charset."""
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: ["no/such/font.ttf"])
    found = faces.__wrapped__()
    assert 30 < len(found) < 60
    missing = [entry for entry in LATIN if not any(face.has(entry) for face in found)]
    assert len(missing) <= 4, missing


def test_lines_of_the_users_texts_and_charset():
    texts = ("Ce texte seul.", "zwei Wörter", "x" * 300, "word " * 60)
    lines = [make_line(1, index, texts=texts) for index in range(24)]
    assert {line.text for line in lines} <= {*texts[:2], "x" * 100, ("word " * 20).strip()}
    few = [make_line(1, index, characters=tuple("abcdefg "), texts=texts) for index in range(8)]
    assert all(set(line.text) <= set("abcdefg -") for line in few)


def test_a_folder_has_texts_record_and_charset(tmp_path):
    generate_lines(tmp_path / "one", lines=24, seed=3, workers=1, progress=False)
    generate_lines(tmp_path / "two", lines=24, seed=3, workers=2, progress=False)
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names[:2] == ["000000.jpg", "000001.jpg"]
    assert names[-4:] == ["charset.txt", "info.json", "lines.tsv", "record.jsonl"]
    for name in names:
        one, two = (tmp_path / folder / name for folder in ("one", "two"))
        assert one.read_bytes() == two.read_bytes(), name
    rows = (tmp_path / "one" / "lines.tsv").read_text().splitlines()
    record = [json.loads(row) for row in (tmp_path / "one" / "record.jsonl").open()]
    assert rows == [f"{row['name']}\t{row['text']}" for row in record]
    with Image.open(tmp_path / "one" / "000005.jpg") as picture:
        assert picture.size == make_line(3, 5).image.shape[1::-1]
    info = json.loads((tmp_path / "one" / "info.json").read_text())
    assert info["info"]["lines"] == 24 and info["faces"]["Vera"] and info["pillow"]
    assert (tmp_path / "one" / "charset.txt").read_text().splitlines() == list(LATIN)
    with pytest.raises(UserError, match="not empty"):
        generate_lines(tmp_path / "one", lines=1, seed=3)
    with pytest.raises(UserError, match="lines=0"):
        generate_lines(tmp_path / "three", lines=0, seed=3)


def test_a_named_split_is_made_once_and_anew_for_another_version(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(CROPS, "val", LineSplit(3, 22))
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    assert command.run(parsed(command, "make", "--split", "val")) == 0
    folder = tmp_path / "lines" / "val"
    assert capsys.readouterr().out.strip() == str(folder)
    before = (folder / "lines.tsv").stat().st_mtime_ns
    assert ensure(tmp_path, "lines", "val") == folder
    assert (folder / "lines.tsv").stat().st_mtime_ns == before
    monkeypatch.setattr(line_folders, "LINES_VERSION", line_folders.LINES_VERSION + 1)
    ensure(tmp_path, "lines", "val")
    assert (folder / "lines.tsv").stat().st_mtime_ns != before


def test_splits_have_seeds_of_their_own():
    assert len({split.seed for split in CROPS.values()}) == 3


def test_command_makes_lines_and_sheets_of_ones_own_texts(tmp_path):
    (tmp_path / "texts.txt").write_text("Grüße aus Köln\n\nÀ bientôt\n", encoding="utf-8")
    (tmp_path / "charset.txt").write_text("".join(f"{c}\n" for c in sorted(set("Grüße aus Köln"))))
    words = f"--lines 6 --seed 2 --texts {tmp_path}/texts.txt --charset {tmp_path}/charset.txt"
    own, sheet = tmp_path / "own", tmp_path / "sheet.png"
    make = ["make", *words.split(), "--workers", "1", "--out", str(own)]
    assert command.run(parsed(command, *make)) == 0
    texts = {row.split("\t")[1] for row in (own / "lines.tsv").read_text().splitlines()}
    assert texts == {"Grüße aus Köln", "n"} or texts <= {"Grüße aus Köln", "nt", "ntt", "n"}
    assert command.run(parsed(command, "sheet", *words.split(), "--out", str(sheet))) == 0
    with Image.open(sheet) as picture:
        assert picture.size == (1520, 198)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("make --lines 3", "add --out"),
        ("make --split val --out x", "leave out --split"),
        ("make --out x --texts nothing.txt", "cannot be read"),
        ("sheet --lines 0", "at least 1"),
        ("sheet --out nowhere/sheet.png", "no folder"),
    ],
)
def test_wrong_use_says_what_to_do(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        command.run(parsed(command, *words.split()))


def test_two_hundred_lines_a_second():
    """With half of the rate as slack for slow machines."""
    make_line(4, 0)
    begin = time.process_time()
    for index in range(300):
        make_line(4, index)
    assert 300 / (time.process_time() - begin) > 100
