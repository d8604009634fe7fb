"""A headless browser shows the reports: headings, no complaint in its console, a picture that is
not blank.
"""

import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from tests.report.test_runs import make

NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-background-networking --no-first-run "
    "--disable-component-update --disable-sync --hide-scrollbars --enable-logging=stderr"
).split()

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium or google-chrome here")


def browse(page, tmp_path, *arguments) -> subprocess.CompletedProcess:
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    words = [BROWSER, *FLAGS, profile, *arguments, page.as_uri()]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and ":CONSOLE(" not in done.stderr, done.stderr[-2000:]
    return done


def shot(page, tmp_path, *, height: int) -> np.ndarray:
    path = tmp_path / "shot.png"
    browse(page, tmp_path, f"--screenshot={path}", f"--window-size=1200,{height}")
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def close_to(pixels: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((np.abs(pixels - colour).sum(-1) < 24).sum())


def test_a_run_report_is_shown_whole(tmp_path):
    make(tmp_path)
    page = tmp_path / "new" / "report.html"
    dom = browse(page, tmp_path, "--dump-dom").stdout
    for title in ("Results", "Training", "AP by class", "Confusion matrix"):
        assert f"<h2>{title}</h2>" in dom
    assert "<h2>The worst pages</h2>" in dom and "<h2>Document graph of a page</h2>" in dom
    pixels = shot(page, tmp_path, height=4200)
    assert pixels.shape == (4200, 1200, 3)
    paper = close_to(pixels, (0xFB, 0xFA, 0xF7)) / pixels[..., 0].size
    assert 0.2 < paper < 0.95, "blank, or without its style"
    rows = np.abs(pixels - (0xFB, 0xFA, 0xF7)).sum(-1) > 60
    for part in np.array_split(rows[:3600], 6):  # ink from top to bottom
        assert part.sum() > 500
