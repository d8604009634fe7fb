import numpy as np
import pytest

from graphkd.robustness.corruptions import SEVERITIES, corrupt, moved_box
from graphkd.robustness.geometry import keystoning, rotation, warping
from tests.robustness.pages import corners

KINDS = {"rotation": rotation, "warping": warping, "keystoning": keystoning}
CASES = [(kind, severity) for kind in KINDS for severity in SEVERITIES]


@pytest.mark.parametrize(("kind", "severity"), CASES)
@pytest.mark.parametrize("size", [(320, 240), (240, 320), (300, 100)])
def test_a_drawn_rectangles_moved_box_encloses_its_pixels(kind, severity, size):
    height, width = size
    for seed in range(3):
        x0, y0, x1, y1 = width // 5, height // 4, width // 2, 3 * height // 4
        page = np.full((height, width, 3), 255, np.uint8)
        page[y0:y1, x0:x1] = 0
        corrupted = corrupt(page, kind=kind, severity=severity, seed=seed)
        box = moved_box(corrupted, corners((x0, y0, x1, y1)))
        rows, columns = np.nonzero(corrupted.image.mean(axis=2) < 128)
        found = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        # A pixel that is half covered counts as ink and reaches half a pixel further.
        assert box[0] - 0.75 <= found[0] and box[1] - 0.75 <= found[1]
        assert box[2] + 0.75 >= found[2] and box[3] + 0.75 >= found[3]
        # And it is tight: a corner that ends in a point is all that may be paler.
        assert np.abs(np.subtract(found, box)).max() < 2.5


@pytest.mark.parametrize(("kind", "severity"), CASES)
@pytest.mark.parametrize("size", [(320, 240), (90, 700), (1, 50)])
def test_no_part_of_a_page_is_pushed_off(kind, severity, size):
    for seed in range(5):
        move = KINDS[kind](size, np.random.default_rng(seed), severity)
        share = np.linspace(0, 1, 41)
        rim = np.concatenate(
            [np.stack([s, np.full(41, e)], 1) for e in (0, 1) for s in (share,)]
            + [np.stack([np.full(41, e), s], 1) for e in (0, 1) for s in (share,)]
        ) * (size[1], size[0])
        moved = move.points(rim)
        assert moved.min() > -0.01
        assert (moved <= np.array(move.size[::-1]) + 0.01).all()


@pytest.mark.parametrize("severity", SEVERITIES)
def test_waves_are_solved_exactly_and_never_fold(severity):
    for seed in range(10):
        waves = warping((700, 500), np.random.default_rng(seed), severity)
        y, x = np.mgrid[0:700:20, 0:500:20]
        page = np.stack([x.ravel(), y.ravel()], axis=1).astype(float)
        assert np.allclose(waves.source(waves.points(page)), page, atol=1e-6)
        moved = waves.points(page).reshape(*x.shape, 2)
        assert (np.diff(moved[..., 0], axis=1) > 0).all()
        assert (np.diff(moved[..., 1], axis=0) > 0).all()


@pytest.mark.parametrize(("kind", "severity"), CASES)
def test_pixels_go_where_points_go(kind, severity):
    page = np.full((300, 220, 3), 255, np.uint8)
    page[100:105, 60:65] = 0
    move = KINDS[kind](page.shape[:2], np.random.default_rng(1), severity)
    ink = 255.0 - move.image(page).mean(axis=2)
    y, x = np.mgrid[: ink.shape[0], : ink.shape[1]] + 0.5
    found = np.array([(x * ink).sum(), (y * ink).sum()]) / ink.sum()
    assert np.allclose(found, move.points(np.array([[62.5, 102.5]]))[0], atol=0.1)


def test_a_turn_by_hand():
    move = rotation((100, 200), np.random.default_rng(0), 3)
    height, width = move.size
    # The middle stays the middle and lengths stay lengths.
    assert np.allclose(move.points(np.array([[100.0, 50.0]])), [[width / 2, height / 2]])
    one, other = move.points(np.array([[0.0, 0.0], [200.0, 100.0]]))
    assert np.hypot(*(other - one)) == pytest.approx(np.hypot(200, 100))
    across = move.points(np.array([[0.0, 50.0], [200.0, 50.0]]))
    angle = np.degrees(np.arctan2(*(across[1] - across[0])[::-1]))
    assert 0.8 * 14 <= abs(angle) <= 14


def test_what_lies_outside_the_page_has_the_colour_of_its_border():
    page = np.full((200, 150, 3), (250, 240, 200), np.uint8)
    page[60:140, 40:110] = 20
    turned = corrupt(page, kind="rotation", severity=3).image
    assert (turned[0, 0] == (250, 240, 200)).all()
