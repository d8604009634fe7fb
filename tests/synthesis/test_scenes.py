"""Generated scenes: reproducible, words where their polygons are, small words ignored, speed."""

import time

import cv2
import numpy as np
import pytest

from graphkd.commands import scenes as command
from graphkd.synthesis import SCENES, Split, ensure, make_scene, scenes, signs
from graphkd.synthesis.page import MadePage
from tests.synthesis.test_command import parsed


@pytest.fixture(scope="module")
def made() -> list[MadePage]:
    return [make_scene(5, index) for index in range(24)]


def short_side(polygon) -> float:
    return min(cv2.minAreaRect(np.float32(polygon))[1])


def test_same_seed_and_index_give_the_same_scene(made):
    again = make_scene(5, 3)
    assert again.image.tobytes() == made[3].image.tobytes() and again.lines == made[3].lines
    assert make_scene(6, 3).image.tobytes() != again.image.tobytes()


@pytest.mark.parametrize("long_side", [64, 320])
def test_longer_side_is_exact(long_side):
    assert all(max(make_scene(1, i, long_side=long_side).image.size) == long_side for i in range(6))


def test_polygons_lie_in_the_picture_and_have_text(made):
    for page in made:
        for line in page.lines:
            points = np.array(line.polygon)
            assert (points >= 0).all() and (points <= page.image.size).all()
            assert line.text and " " not in line.text and isinstance(line.ignore, bool)
            assert line.ignore or (len(points) == 4 and short_side(points) > 6)


def test_scenes_vary(made):
    lines = [line for page in made for line in page.lines]
    assert 0.15 < np.mean([line.ignore for line in lines]) < 0.8
    kept = [line for line in lines if not line.ignore]
    assert len(kept) > 60
    assert any(not page.lines for page in made) and max(len(page.lines) for page in made) > 20
    edges = np.array([np.subtract(line.polygon[1], line.polygon[0]) for line in kept])
    turn = np.abs(np.degrees(np.arctan2(edges[:, 1], edges[:, 0])))
    assert (turn > 2).mean() > 0.3 and (turn > 80).any() and np.median(turn) < 20
    assert len({page.image.size for page in made}) >= 3


def test_ink_lies_in_the_polygons_and_fills_them(monkeypatch):
    """Ink is the difference between a scene and the same scene with empty letters."""
    monkeypatch.setattr(scenes, "_camera", lambda rng, image: ((image * 255).astype(np.uint8), 0.0))
    monkeypatch.setattr(scenes, "_hide", lambda rng, image, lines: (image, lines))
    monkeypatch.setattr(scenes.Sign, "_halo", lambda *args, **options: None)
    drawn, fill = signs.word_mask, []
    inside = outside = 0
    for index in range(16):
        page = make_scene(5, index)
        with monkeypatch.context() as patch:
            patch.setattr(signs, "word_mask", lambda *word: (drawn(*word)[0] * 0, drawn(*word)[1]))
            bare = make_scene(5, index)
        assert bare.lines == page.lines
        ink = np.abs(np.subtract(page.image, bare.image, dtype=int)).max(axis=2) > 25
        covered = np.zeros(ink.shape, np.uint8)
        for line in page.lines:
            polygon = np.int32(np.round(np.array(line.polygon) * 16 - 8))
            here = np.zeros(ink.shape, np.uint8)
            cv2.fillPoly(here, [polygon], 1, shift=4)
            covered |= cv2.dilate(here, np.ones((3, 3), np.uint8))
            if not line.ignore:
                rows, columns = np.nonzero(ink & (here > 0))
                hull = cv2.convexHull(np.stack([columns, rows], axis=1).astype(np.float32))
                fill.append(cv2.contourArea(hull) / cv2.contourArea(np.float32(line.polygon)))
        inside += (ink & (covered > 0)).sum()
        outside += (ink & (covered == 0)).sum()
    assert inside > 10000 and outside < 0.002 * inside
    # The hull of ink runs through pixel centres, so small words fill less.
    assert len(fill) > 50 and np.median(fill) > 0.8


def test_words_are_drawn_as_they_are_written():
    file = signs.font_files()[0]
    wide, rise = signs.word_mask("Exit", file, 40)
    assert wide[0].any() and wide[-1].any() and wide[:, 0].any() and wide[:, -1].any()
    assert wide.shape[0] - rise <= 1  # no letter reaches below the baseline
    low, up = signs.word_mask("gyp", file, 40)
    assert low.shape[0] - up > 5 and signs.word_mask("lll", file, 40)[0].shape[1] < 40


def test_every_font_has_every_character():
    for file in signs.font_files():
        missing = signs.word_mask("\uffff", file, 40)[0]
        for character in {c for word in (*signs.SIGNS, "&Co.$%0123456789abcxyz") for c in word}:
            mask = signs.word_mask(character, file, 40)[0]
            assert mask.size > 4 and (mask.shape != missing.shape or (mask != missing).any())


def test_a_named_split_is_made_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(SCENES, "val", Split(3, 12, 96))
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    assert command.run(parsed(command, "make", "--split", "val")) == 0
    folder = tmp_path / "scenes" / "val"
    assert capsys.readouterr().out.strip() == str(folder)
    assert sorted(p.name for p in folder.iterdir()) == ["images", "info.json", "lines.jsonl"]
    before = (folder / "lines.jsonl").stat().st_mtime_ns
    assert ensure(tmp_path, "scenes", "val") == folder
    assert (folder / "lines.jsonl").stat().st_mtime_ns == before
    monkeypatch.setitem(SCENES, "val", Split(4, 12, 96))
    ensure(tmp_path, "scenes", "val")
    assert len(list((folder / "images").iterdir())) == 4


def test_sheet_and_own_scenes(tmp_path):
    sheet, own = tmp_path / "sheet.png", tmp_path / "own"
    assert command.run(parsed(command, "sheet", "--pages", "2", "--out", str(sheet))) == 0
    assert sheet.stat().st_size > 10000
    words = ["make", "--pages", "2", "--long-side", "96", "--workers", "1", "--out", str(own)]
    assert command.run(parsed(command, *words)) == 0
    assert len((own / "lines.jsonl").read_text().splitlines()) == 2


def test_more_than_twenty_scenes_a_second_at_320():
    make_scene(4, 0, long_side=320)
    begin = time.process_time()
    for index in range(20):
        make_scene(4, index, long_side=320)
    assert 20 / (time.process_time() - begin) > 20
