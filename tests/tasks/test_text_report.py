"""The report of text detectors: curve, worst pages, and maps of a page."""

import json

import numpy as np
import pytest
import torch

from graphkd.config import load_cfg
from graphkd.data.lines import published
from graphkd.report.stored import Options, read_run
from graphkd.tasks.text_detection import TASK
from graphkd.tasks.text_report import entropy, text_sections
from tests.lines_data import lines_data, write_text_pair  # noqa: F401


@pytest.fixture(scope="module")
def runs(lines_data, tmp_path_factory):  # noqa: F811
    """Two runs on the tiny test set: `plain` finds every line, `distilled` finds them too low."""
    folder = tmp_path_factory.mktemp("report")
    cfg = load_cfg(write_text_pair(folder, lines_data, method="logits"))
    name = cfg.DATASETS.TEST[0]
    made = []
    for place, run in enumerate(("plain", "distilled")):
        here = folder / run
        (here / "eval" / name).mkdir(parents=True)
        (here / "config.yaml").write_text(cfg.dump())
        torch.manual_seed(place)
        stored = {"model": TASK.build_model(cfg).state_dict(), "classes": ["text"]}
        stored |= {"task": "text_detection", "calibration": {"box_thresh": 0.4}}
        torch.save({**stored, "config": cfg.dump()}, here / "model_final.pth")
        rows = [
            {
                "id": page["image_id"],
                "lines": [
                    {
                        "polygon": (np.array(line["polygon"]) + [0, 40 * place]).tolist(),
                        "score": 0.9 - 0.2 * number,
                    }
                    for number, line in enumerate(page["lines"])
                ],
            }
            for page in published(name)
        ]
        (here / "eval" / name / "lines.json").write_text(json.dumps(rows))
        made.append(read_run(here, name=run))
    return made


def test_every_section_is_there(runs):
    said = []
    sections, notes = text_sections(runs, Options(pages=2), say=said.append)
    assert [section.id for section in sections] == ["curve", "pages", "maps"]
    assert not notes and len(said) == 2
    curve, pages, maps = (str(section.body) for section in sections)
    assert "plain" in curve and "distilled" in curve and "chosen 0.40" in curve
    # Two pages with truth and two runs; the lines below the threshold are not drawn.
    assert pages.count("<figure") == 6
    assert pages.count("<polygon") == 2 * (4 + 3 + 3)
    assert maps.count("<img") == 1 + 2 * 2


def test_missing_lines_and_weights_are_said(runs, tmp_path):
    (tmp_path / "config.yaml").write_text((runs[0].folder / "config.yaml").read_text())
    bare = read_run(tmp_path, name="bare")
    sections, notes = text_sections([bare], Options(), say=lambda _: None)
    assert sections == [] and any("lines.json" in note for note in notes)
    sections, notes = text_sections([bare, runs[0]], Options(pages=1), say=lambda _: None)
    assert [section.id for section in sections] == ["curve", "pages", "maps"]
    assert any("no text map of bare" in note for note in notes)


def test_entropy_of_a_logit():
    values = np.array([-40.0, -2.0, -0.5, 0.0, 0.5, 2.0, 40.0, 800.0])
    p = 1 / (1 + np.exp(-values[1:-2]))
    expected = -(p * np.log2(p) + (1 - p) * np.log2(1 - p))
    found = entropy(values)
    assert found[1:-2] == pytest.approx(expected)
    assert found[3] == 1 and found[[0, -2, -1]] == pytest.approx(0, abs=1e-12)
