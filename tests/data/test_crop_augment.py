"""Changes of single lines: reproducible, pure, and no part of the text is lost."""

import cv2
import numpy as np
import pytest

from graphkd.data import crop_augment
from graphkd.data.crop_augment import CHANGES, MOVES, PAINTS, augment_crop, ink_margins


def line(height: int = 32, width: int = 300) -> np.ndarray:
    """Dark letters with different first and last ones on light paper."""
    picture = np.full((height, width, 3), 225, np.uint8)
    scale = height / 40
    cv2.putText(
        picture,
        "[dies ist eine Zeile]",
        (3, int(height * 0.7)),
        0,
        scale,
        (30,) * 3,
        1,
        cv2.LINE_AA,
    )
    return picture


def ink_share(picture: np.ndarray) -> float:
    """Ink in pixels of a line of 32 rows."""
    grey = picture.astype(np.float32).mean(axis=2)
    ground = np.median(grey)
    away = np.clip(np.abs(grey - ground) / max(np.abs(grey - ground).max(), 1) - 0.3, 0, 1)
    return float(away.sum())


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_pure_and_seeded(name):
    picture = line()
    before = picture.copy()
    one = CHANGES[name](picture, np.random.default_rng(4))
    assert (picture == before).all() and one.dtype == np.uint8 and one.shape[2] == 3
    again = CHANGES[name](picture, np.random.default_rng(4))
    assert one.tobytes() == again.tobytes() and one.shape == again.shape
    others = [CHANGES[name](picture, np.random.default_rng(seed)) for seed in range(5, 9)]
    if name != "inversion":
        assert any(o.shape != one.shape or (o != one).any() for o in others)
    assert any(o.shape != picture.shape or (o != picture).any() for o in [one, *others])


@pytest.mark.parametrize("name", PAINTS)
def test_paints_move_nothing(name):
    for seed in range(8):
        changed = PAINTS[name](line(), np.random.default_rng(seed))
        assert changed.shape == line().shape
        # Letters are still where they were.
        one = line().mean(axis=2).ravel()
        other = changed.mean(axis=2).ravel()
        assert abs(np.corrcoef(one, other)[0, 1]) > 0.6, seed


@pytest.mark.parametrize("name", MOVES)
@pytest.mark.parametrize("size", [(32, 300), (20, 190), (48, 450)])
def test_moves_keep_all_ink(name, size):
    """A bracket at each end would lose its stem, a row its tails."""
    picture = line(*size)
    for seed in range(20):
        moved = MOVES[name](picture, np.random.default_rng(seed))
        ratio = ink_share(moved) / ink_share(picture)
        scale = moved.shape[1] / picture.shape[1] if name == "stretch" else 1.0
        assert 0.68 < ratio / scale < 1.3, (seed, ratio)  # thin strokes get paler


@pytest.mark.parametrize("margin", [0, 1, 2, 4])
def test_margins_never_cut_ink(margin):
    picture = np.full((32, 60, 3), 230, np.uint8)
    picture[margin : 32 - margin, margin : 60 - margin] = 20
    picture[14:18, 20:40] = 230
    picture[12:20, 10:50] = 230
    picture[margin + 1 : 31 - margin, margin + 1 : 59 - margin] = 230  # a frame of ink
    frame = (picture[:, :, 0] < 100).sum()
    assert ink_margins(picture) == (margin,) * 4
    for seed in range(30):
        changed = crop_augment.margins(picture, np.random.default_rng(seed))
        found = ink_margins(changed)
        inner = changed[
            found[1] : changed.shape[0] - found[3], found[0] : changed.shape[1] - found[2]
        ]
        assert (inner[:, :, 0] < 100).sum() >= frame, seed
        assert min(found) >= min(margin, 1) or margin == 0


def test_a_blank_line_and_tiny_ones_are_changed_too():
    for shape in ((1, 1, 3), (4, 2, 3), (32, 1, 3), (40, 3000, 3)):
        picture = np.full(shape, 200, np.uint8)
        for name, change in CHANGES.items():
            changed = change(picture, np.random.default_rng(1))
            assert changed.size and changed.ndim == 3, name


def test_probability_is_the_share_of_changed_lines():
    picture = line()
    for probability in (0.0, 0.5, 1.0):
        results = [
            augment_crop(picture, np.random.default_rng(seed), probability=probability)
            for seed in range(200)
        ]
        changed = [r.shape != picture.shape or (r != picture).any() for r in results]
        assert probability - 0.1 < np.mean(changed) < probability + 0.1
    again = augment_crop(picture, np.random.default_rng(7), probability=1.0)
    assert again.tobytes() == results[7].tobytes()
    dark = np.mean([np.median(result) < 100 for result in results])
    assert dark < 0.15
