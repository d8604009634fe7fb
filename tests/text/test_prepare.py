"""The preparation of line pictures."""

import numpy as np
import pytest

from graphkd.text.prepare import BUCKETS, bucket_of, frames_of, line_width, prepare_line


def test_widths_and_buckets():
    assert line_width((64, 640)) == 320 and line_width((10, 1)) == 3
    assert line_width((100, 1)) == 1
    assert line_width((32, 9000)) == 2048
    assert line_width((64, 640), height=48) == 480
    assert [bucket_of(width) for width in (1, 64, 65, 320, 321, 2048, 3000)] == [
        *(64, 64, 96, 320, 384, 2048, 2048)
    ]
    assert all(bucket_of(width) == width for width in BUCKETS)
    assert [frames_of(width) for width in (1, 4, 5, 320)] == [1, 1, 2, 80]


def test_a_line_is_padded_on_the_right_with_zeros():
    picture = np.full((64, 150, 3), 200, np.uint8)
    pixels, width = prepare_line(picture)
    assert pixels.shape == (32, 96, 3) and pixels.dtype == np.uint8 and width == 75
    assert (pixels[:, :75] == 200).all() and (pixels[:, 75:] == 0).all()


def test_grey_pictures_give_three_equal_channels():
    picture = np.random.default_rng(0).integers(0, 255, (20, 50), np.uint8)
    pixels, width = prepare_line(picture)
    assert width == 80 and (pixels[:, :, 0] == pixels[:, :, 2]).all()
    again, _ = prepare_line(picture[:, :, None])
    assert (pixels == again).all()


def test_channels_stay_in_their_order():
    picture = np.zeros((32, 64, 3), np.uint8)
    picture[:, :, 0] = 255
    pixels, _ = prepare_line(picture)
    assert pixels[0, 0].tolist() == [255, 0, 0]


def test_thin_strokes_stay_visible_in_small_lines():
    picture = np.full((320, 1600), 255, np.uint8)
    picture[:, ::20] = 0
    pixels, width = prepare_line(picture)
    assert width == 160 and 225 < pixels[:, :160].mean() < 250
    assert (pixels.std(axis=1)[:, 0] > 5).all()


def test_what_is_no_picture_is_refused():
    for shape in ((0, 5, 3), (5, 5, 4), (5,)):
        with pytest.raises(ValueError, match="no line"):
            prepare_line(np.zeros(shape, np.uint8))


def test_in_training_the_batch_gives_the_width_and_the_label_the_least_one():
    picture = np.full((32, 100, 3), 9, np.uint8)
    pixels, width = prepare_line(picture, bucket=192)
    assert pixels.shape[1] == 192 and width == 100
    pixels, width = prepare_line(picture, bucket=64)
    assert pixels.shape[1] == 64 and width == 64
    assert prepare_line(picture, bucket=192, least=120)[1] == 120
    assert prepare_line(picture, bucket=64, least=120)[1] == 64
