"""The command `graphkd pages`: arguments in, folders and pictures out; pages have own tests."""

import argparse
from pathlib import Path

import pytest
from PIL import Image

from graphkd.commands import pages
from graphkd.errors import UserError
from graphkd.synthesis import SPLITS, Split


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    pages.add_arguments(parser)
    return pages.run(parser.parse_args(words))


def test_make_into_a_folder_of_ones_own(tmp_path):
    words = "make --pages 3 --seed 4 --long-side 128 --scan 0 --workers 1 --out".split()
    assert run(*words, str(tmp_path / "own")) == 0
    assert len(list((tmp_path / "own" / "images").glob("*.jpg"))) == 3


def test_make_a_named_split_below_the_datasets_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    monkeypatch.setitem(SPLITS, "pages_tiny", {"val": Split(2, 2, 128)})
    assert run("make", "--name", "pages_tiny", "--split", "val") == 0
    assert Path(capsys.readouterr().out.strip()) == tmp_path / "pages_tiny" / "val"


def test_sheet_is_a_picture_with_a_legend(tmp_path):
    file = tmp_path / "sheet.png"
    assert run("sheet", "--pages", "2", "--classes", "5", "--out", str(file)) == 0
    with Image.open(file) as picture:
        assert picture.width > picture.height > 620


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
