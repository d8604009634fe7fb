"""The command `graphkd pages`: folders, contact sheets and wrong arguments."""

import argparse
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageColor

from graphkd.commands import pages
from graphkd.errors import UserError
from graphkd.synthesis import CLASSES_5, CLASSES_11, SPLITS, Split, five_classes, make_page
from graphkd.synthesis.contact import COLORS


def parsed(command, *words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(words)


def run(*words: str) -> int:
    return pages.run(parsed(pages, *words))


def test_make_into_a_folder_of_ones_own(tmp_path):
    words = "make --pages 3 --seed 4 --long-side 128 --scan 0 --workers 1 --out".split()
    assert run(*words, str(tmp_path / "own")) == 0
    assert len(list((tmp_path / "own" / "images").glob("*.jpg"))) == 3


def test_make_a_named_split_below_the_datasets_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    monkeypatch.setitem(SPLITS, "pages_tiny", {"val": Split(2, 2, 128)})
    assert run("make", "--name", "pages_tiny", "--split", "val") == 0
    assert Path(capsys.readouterr().out.strip()) == tmp_path / "pages_tiny" / "val"


@pytest.mark.parametrize("classes", ["5", "11"])
def test_sheet_shows_the_pages_with_their_boxes_and_a_legend(tmp_path, classes):
    file = tmp_path / "sheet.png"
    words = ["--pages", "2", "--seed", "3", "--classes", classes, "--out", str(file)]
    assert run("sheet", *words) == 0
    with Image.open(file) as picture:
        assert picture.width > picture.height > 620
        pixels = np.asarray(picture.convert("RGB"))
    height = 12 + 620 + 12
    legend, pages = pixels[height:], pixels[:height]
    colors = [ImageColor.getrgb(name) for name in COLORS[: int(classes)]]
    shown = [color for color in colors if (legend == color).all(axis=2).any()]
    assert shown == colors
    made = [make_page(3, index, long_side=620) for index in range(2)]
    names = CLASSES_5 if classes == "5" else CLASSES_11
    regions = [five_classes(page.regions) if classes == "5" else page.regions for page in made]
    # Both pages of this series are upright, so the first one begins at the margins of its cell.
    left, top = 12 + (620 - made[0].image.width) // 2, 12 + (620 - made[0].image.height) // 2
    for region in regions[0]:
        x0, y0, x1, y1 = (int(v) for v in region.box)
        outline = pages[top + y0 - 1 : top + y1 + 1, left + x0 - 1]
        color = ImageColor.getrgb(COLORS[names.index(region.name)])
        assert (outline == color).all(axis=1).mean() > 0.8


def test_sheet_of_text_lines(tmp_path):
    file = tmp_path / "lines.png"
    assert run("sheet", "--pages", "1", "--seed", "3", "--classes", "0", "--out", str(file)) == 0
    pixels = np.asarray(Image.open(file).convert("RGB"))
    page = make_page(3, 0, long_side=620)
    left, top = 12 + (620 - page.image.width) // 2, 12
    for line in page.lines:
        x, y = np.mean(line.polygon[:2], axis=0).astype(int) + (left, top)
        color = [0, 0, 255] if line.ignore else [255, 0, 0]
        assert (pixels[y - 1 : y + 2, x - 1 : x + 2] == color).all(axis=2).any(), line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("make --pages 3", "add --out"),
        ("make --name pages --out x", "leave out --name"),
        ("sheet --pages 0", "at least 1"),
        ("sheet --out nowhere/sheet.png", "no folder"),
    ],
)
def test_wrong_use_says_what_to_do(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        run(*words.split())
