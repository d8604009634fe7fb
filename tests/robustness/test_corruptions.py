import cv2
import numpy as np
import pytest

from graphkd.robustness.corruptions import KINDS, LONGEST, SEVERITIES, corrupt, moved_box
from tests.robustness.pages import corners, drawn_page, picture_box

MOVING = ("rotation", "warping", "keystoning")
PAINTING = tuple(kind for kind in KINDS if kind not in MOVING)
EVERY = [(kind, severity) for kind in KINDS for severity in SEVERITIES]


def distance(page, kind, severity, seed=0):
    """Root mean square change of the pixels; of the picture's corners where they move."""
    corrupted = corrupt(page, kind=kind, severity=severity, seed=seed)
    if kind in MOVING:
        before = corners(picture_box(*page.shape[:2]))
        middle = np.array(corrupted.image.shape[1::-1]) / 2 - np.array(page.shape[1::-1]) / 2
        moved = corrupted.points(before) - middle - before
        return np.sqrt((moved**2).sum(axis=1).mean()) / max(page.shape[:2])
    change = corrupted.image.astype(np.float64) - page
    return np.sqrt((change**2).mean())


def test_the_twelve_kinds():
    assert len(KINDS) == 12 and len(set(KINDS)) == 12


@pytest.mark.parametrize(("kind", "severity"), EVERY)
def test_the_same_page_and_seed_give_the_same_corruption(kind, severity):
    page = drawn_page(200, 150)
    kept = page.copy()
    once = corrupt(page, kind=kind, severity=severity, seed=4)
    again = corrupt(page.copy(), kind=kind, severity=severity, seed=4)
    assert np.array_equal(once.image, again.image)
    assert np.array_equal(page, kept), "the page itself is left as it was"
    assert once.image.dtype == np.uint8
    assert not np.array_equal(once.image, page)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "defocus"])
def test_another_seed_or_page_gives_another_corruption(kind):
    page = drawn_page(200, 150)
    one = corrupt(page, kind=kind, severity=2, seed=1)
    assert not np.array_equal(one.image, corrupt(page, kind=kind, severity=2, seed=2).image)
    # Another page is corrupted in another place: turned by another angle, stained elsewhere.
    other = page.copy()
    other[:3] = 0
    two = corrupt(other, kind=kind, severity=2, seed=1)
    if kind in MOVING:
        assert not np.allclose(one.points(np.eye(2)), two.points(np.eye(2)))
    else:
        assert not np.array_equal(one.image[30:], two.image[30:])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(400, 300), (300, 400), (700, 500)])
def test_severity_grows(kind, size):
    page = drawn_page(*size)
    for seed in (0, 1):
        first, second, third = (distance(page, kind, s, seed) for s in SEVERITIES)
        assert 0 < first and 1.15 * first < second and 1.15 * second < third


@pytest.mark.parametrize("kind", KINDS)
def test_severity_is_relative_to_the_page(kind, monkeypatch):
    """A scan at another resolution is corrupted alike: shrunk, it is the small one corrupted."""
    # The two scans differ in their pixels, hence in their draws; here they draw the same.
    monkeypatch.setattr(
        "graphkd.robustness.corruptions._generator", lambda *_: np.random.default_rng(5)
    )
    small, large = drawn_page(400, 300), drawn_page(1200, 900)
    for severity in SEVERITIES:
        one = corrupt(small, kind=kind, severity=severity)
        two = corrupt(large, kind=kind, severity=severity)
        shrunk = cv2.resize(two.image, one.image.shape[1::-1], interpolation=cv2.INTER_AREA)
        apart = np.abs(cv2.blur(one.image, (5, 5)).astype(float) - cv2.blur(shrunk, (5, 5))).mean()
        assert apart < 6
        if kind in MOVING:
            ends = corners(picture_box(400, 300))
            assert np.allclose(one.points(ends), two.points(3 * ends) / 3, atol=1.5)
        else:
            before = np.abs(small.astype(float) - one.image).mean()
            after = np.abs(large.astype(float) - two.image).mean()
            assert 0.4 < after / before < 2.5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 1, 3), (1, 70, 3), (70, 1, 1), (2, 3, 3), (60, 45), (60, 45, 1)]
)
def test_tiny_and_grey_pages(kind, shape):
    page = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    for severity in SEVERITIES:
        corrupted = corrupt(page, kind=kind, severity=severity)
        assert corrupted.image.ndim == page.ndim
        assert corrupted.image.shape[2:] == page.shape[2:]
        if kind in PAINTING:
            assert corrupted.image.shape == page.shape
        assert np.isfinite(corrupted.points(np.array([[0.5, 0.5]]))).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(40000, 12, 3), (6, 40000, 3), (3600, 300, 3)])
def test_huge_pages_are_shrunk_with_their_boxes(kind, shape):
    page = np.full(shape, 250, np.uint8)
    corrupted = corrupt(page, kind=kind, severity=3)
    # Turning and the like come after the shrinking.
    assert max(corrupted.image.shape) <= 1.1 * LONGEST
    whole = moved_box(corrupted, corners((0, 0, shape[1], shape[0])))
    width, height = whole[2] - whole[0], whole[3] - whole[1]
    longest = max(corrupted.image.shape[:2])
    assert max(width, height) > 0.75 * longest


@pytest.mark.parametrize("kind", PAINTING)
def test_boxes_stay_where_nothing_moves(kind):
    page = drawn_page(120, 90)
    corrupted = corrupt(page, kind=kind, severity=3)
    assert corrupted.moves == ()
    assert moved_box(corrupted, corners((10, 20, 60, 80))) == (10, 20, 60, 80)


def test_a_box_off_the_page_is_none():
    corrupted = corrupt(drawn_page(120, 90), kind="speckle", severity=1)
    assert moved_box(corrupted, corners((90, 10, 99, 20))) is None
    assert moved_box(corrupted, corners((80, 10, 99, 20))) == (80, 10, 90, 20)


@pytest.mark.parametrize(
    ("kind", "severity", "page"),
    [
        ("fire", 1, np.zeros((4, 4), np.uint8)),
        ("rotation", 0, np.zeros((4, 4), np.uint8)),
        ("rotation", 4, np.zeros((4, 4), np.uint8)),
        ("rotation", 1, np.zeros((4, 4), np.float32)),
        ("rotation", 1, np.zeros((0, 4, 3), np.uint8)),
    ],
)
def test_what_is_no_corruption_or_no_page_is_refused(kind, severity, page):
    with pytest.raises(ValueError, match="corruption|page"):
        corrupt(page, kind=kind, severity=severity)
