"""The report of text recognisers: worst lines with pictures, confused characters."""

import json

import pytest

from graphkd.config import load_cfg
from graphkd.data.crops import published
from graphkd.evaluation.reading import score_lines
from graphkd.report.stored import Options, read_run
from graphkd.tasks.crop_report import crop_sections, marked
from tests.crops_data import crops_data, write_reader_pair  # noqa: F401


@pytest.fixture(scope="module")
def runs(crops_data, tmp_path_factory):  # noqa: F811
    """Two runs: `plain` misses the last character of every line, `distilled` that of two lines."""
    folder = tmp_path_factory.mktemp("report")
    cfg = load_cfg(write_reader_pair(folder, crops_data))
    name = cfg.DATASETS.TEST[0]
    lines = published(name)
    made = []
    for run, wrong in (("plain", len(lines)), ("distilled", 2)):
        here = folder / run / "eval" / name
        here.mkdir(parents=True)
        (folder / run / "config.yaml").write_text(cfg.dump())
        texts = [
            line["text"][: -1 if number < wrong else None] for number, line in enumerate(lines)
        ]
        items = score_lines(lines, [(text, 0.5) for text in texts])
        (here / "items.json").write_text(json.dumps(items))
        made.append(read_run(folder / run, name=run))
    return made


def test_worst_lines_and_confusions(runs):
    said = []
    sections, notes = crop_sections(runs, Options(pages=1), say=said.append)
    assert [section.id for section in sections] == ["lines", "confusion"]
    assert not notes and len(said) == 1
    lines, errors = (str(section.body) for section in sections)
    assert lines.count("<img") == 6 and lines.count("<tr>") == 7
    # Six lines of plain and two of distilled lack a character.
    assert lines.count("<del>") - 1 == 6 + 2
    assert "by distilled: exact" in lines and "CER" in lines
    assert "2 wrong characters of distilled" in errors and "(nothing)" in errors


def test_lines_without_pictures_and_items(runs, tmp_path, monkeypatch):
    sections, _ = crop_sections(runs[:1], Options(pages=0), say=lambda _: None)
    assert [section.id for section in sections] == ["confusion"]
    (tmp_path / "config.yaml").write_text((runs[0].folder / "config.yaml").read_text())
    bare = read_run(tmp_path, name="bare")
    sections, notes = crop_sections([bare], Options(), say=lambda _: None)
    assert sections == [] and any("items.json" in note for note in notes)
    spread, _ = crop_sections(runs, Options(pages=1, worst=False), say=lambda _: None)
    assert spread[0].title == "Lines" and "evenly spread" in str(spread[0].body)


def test_marks_by_hand():
    assert marked("abcd", "axc") == [("", "a"), ("wrong", "x"), ("", "c"), ("missing", "d")]
    assert marked("", "ab") == [("wrong", "ab")] and marked("ab", "") == [("missing", "ab")]
    assert marked("same", "same") == [("", "same")]
