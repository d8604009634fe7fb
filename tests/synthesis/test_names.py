"""The names of generated text lines: made when they are loaded, checked, ready for training."""

import pytest

from graphkd.data import catalog, crops, lines
from graphkd.data.check.crops import LabelRules
from graphkd.data.check.lines import check_lines
from graphkd.synthesis import CROPS, SCENES, SPLITS, LineSplit, Split
from graphkd.synthesis.texts import LATIN
from graphkd.text.charset import read_charset


@pytest.fixture
def small(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    monkeypatch.setitem(SPLITS["pages"], "val", Split(3, 2, 1024))
    monkeypatch.setitem(SCENES, "val", Split(8, 12, 320))
    monkeypatch.setitem(CROPS, "val", LineSplit(40, 22))
    catalog.unregister_all()
    yield tmp_path
    catalog.unregister_all()


@pytest.mark.parametrize(
    ("name", "folder"), [("pages_text_val", "pages"), ("scenes_val", "scenes")]
)
def test_sets_are_made_on_loading_and_are_clean(small, name, folder):
    catalog.require(name)
    assert not (small / folder).exists()
    published = lines.published(name)
    hub_file = small / folder / "val" / "lines.jsonl"
    assert len(published) == len(hub_file.read_text().splitlines())
    report = check_lines(hub_file)
    assert report.clean, [problem.line() for problem in report.cleaned.problems]
    training = lines.training_dicts([name])
    assert [page["lines"] for page in training] == [page["lines"] for page in published]
    assert sum(not line["ignore"] for page in training for line in page["lines"]) > 10


def test_page_sets_keep_their_names(small):
    """Regions and lines of one page are in the same folder, so they are made once."""
    lines.published("pages_text_val")
    made = (small / "pages" / "val" / "annotations_5.json").stat().st_mtime_ns
    assert len(catalog.published("pages_val")["images"]) == 3
    assert (small / "pages" / "val" / "annotations_5.json").stat().st_mtime_ns == made


def test_pictures_of_lines_are_made_on_loading_and_train(small):
    catalog.require("lines_val")
    assert not (small / "lines").exists()
    published = crops.published("lines_val")
    rows = (small / "lines" / "val" / "lines.tsv").read_text().splitlines()
    assert [line["text"] for line in published] == [row.split("\t", 1)[1] for row in rows]
    charset = read_charset(small / "lines" / "val" / "charset.txt")
    assert charset.entries == LATIN
    training = crops.training_dicts(["lines_val"], charset, LabelRules())
    assert len(training) == 40
    assert all(charset.covers(line["text"]) for line in training)
