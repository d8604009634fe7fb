import cv2
import numpy as np
import pytest

from graphkd.robustness.corruptions import SEVERITIES, corrupt
from graphkd.robustness.paint import noise
from tests.robustness.pages import drawn_page

WHITE = np.full((600, 450, 3), 255, np.uint8)


def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_ink_bleeds_only_into_paper_and_holdout_only_takes_away(severity):
    page = drawn_page()
    assert (corrupt(page, kind="ink-bleeding", severity=severity).image <= page).all()
    assert (corrupt(page, kind="ink-holdout", severity=severity).image >= page).all()
    for kind in ("ink-bleeding", "ink-holdout"):
        assert (corrupt(WHITE, kind=kind, severity=severity).image == 255).all()


def test_print_is_still_there_at_full_severity():
    """Whatever is annotated must leave a trace, or the score measures nothing."""
    page = drawn_page()
    for kind in ("ink-holdout", "defocus", "vibration", "illumination", "background", "texture"):
        image = corrupt(page, kind=kind, severity=3).image.astype(float).mean(axis=2)
        lines, gaps = image[40:200, 36:255].std(), image[345:395, 36:255].std()
        assert lines > 6, kind
        assert kind in ("illumination", "background") or lines > gaps, kind


@pytest.mark.parametrize("kind", ["defocus", "vibration"])
def test_blur_keeps_the_light(kind):
    spot = np.zeros((201, 201, 3), np.uint8)
    spot[96:105, 96:105] = 255
    for severity in SEVERITIES:
        blurred = corrupt(spot, kind=kind, severity=severity).image
        assert float(blurred.sum()) == pytest.approx(float(spot.sum()), rel=0.03)
        assert (corrupt(WHITE, kind=kind, severity=severity).image == 255).all()


def test_vibration_smears_in_one_direction_and_defocus_in_all():
    spot = np.zeros((601, 601, 3), np.uint8)
    spot[299:302, 299:302] = 255

    def spreads(kind):
        light = corrupt(spot, kind=kind, severity=3).image[..., 0].astype(float)
        y, x = np.nonzero(light)
        return np.sqrt(np.linalg.eigvalsh(np.cov(np.stack([x, y]), aweights=light[y, x])))

    along = spreads("vibration")
    assert along[1] > 2.5 * along[0]
    # A line of length L spreads by L / sqrt(12), here 18 / 1000 of 601 pixels.
    assert along[1] == pytest.approx(601 * 0.018 / 12**0.5, rel=0.15)
    around = spreads("defocus")
    assert around[1] == pytest.approx(around[0], rel=0.02)
    # A disc of radius r spreads by r / 2 each way.
    assert around[1] == pytest.approx(601 * 0.006 / 2, rel=0.25)


@pytest.mark.parametrize(("severity", "cover"), [(1, 0.006), (2, 0.02), (3, 0.055)])
def test_specks_cover_as_much_as_they_should(severity, cover):
    page = corrupt(np.full((1024, 1024, 3), 255, np.uint8), kind="speckle", severity=severity).image
    assert (page.mean(axis=2) < 140).mean() == pytest.approx(cover, rel=0.25)


def test_light_specks_show_on_ink():
    black = np.zeros((500, 400, 3), np.uint8)
    assert (corrupt(black, kind="speckle", severity=3).image.mean(axis=2) > 120).mean() > 0.015


def test_a_watermark_is_denser_and_wider_with_severity():
    covers, tones = [], []
    for severity in SEVERITIES:
        changed = corrupt(WHITE, kind="watermark", severity=severity).image
        covers.append((changed < 250).mean())
        tones.append(int(changed.min()))
    assert covers[0] < covers[1] < covers[2] and covers[0] > 0.01
    assert tones[0] > tones[1] > tones[2]


def test_pictures_lie_behind_the_print():
    page = drawn_page()
    for severity in SEVERITIES:
        changed = corrupt(page, kind="background", severity=severity).image
        # One picture hides at most 0.55 x 0.55 of the page, four at most all of it.
        share = (np.abs(changed.astype(int) - page).max(axis=2) > 3).mean()
        assert 0.05 < share < (0.35, 0.65, 1.0)[severity - 1]
        assert (changed <= page).all()


def test_light_has_a_shadow_and_a_reflection():
    grey = np.full((500, 400, 3), 128, np.uint8)
    darkest, brightest = [], []
    for severity in SEVERITIES:
        lit = cv2.blur(corrupt(grey, kind="illumination", severity=severity).image, (9, 9))
        darkest.append(int(lit.min()))
        brightest.append(int(lit.max()))
    assert 100 > darkest[0] > darkest[1] > darkest[2]
    assert 140 < brightest[0] < brightest[1] < brightest[2]


def test_noise_has_mean_0_and_variance_1_and_does_not_depend_on_the_shape():
    field = noise(rng(), (1024, 1024), sigma=2.0)
    assert abs(field.mean()) < 0.03 and field.std() == pytest.approx(1, abs=0.01)
    assert np.array_equal(field[:700, :300], noise(rng(), (700, 300), sigma=2.0))
