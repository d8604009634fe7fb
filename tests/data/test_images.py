"""Reading pages of every kind."""

import logging

import numpy as np
import pytest
from detectron2.data.detection_utils import read_image
from PIL import Image

from graphkd.data.images import (
    ImageProblem,
    decode_test,
    ends_properly,
    read_header,
    read_page,
    wrong_extension,
)
from tests.data.sets import page


@pytest.mark.parametrize("name", ["p.jpg", "p.png", "p.tif", "p.bmp", "p.webp"])
@pytest.mark.parametrize("format", ["RGB", "BGR", "L"])
def test_plain_pages_are_read_as_detectron2_reads_them(tmp_path, name, format):
    path = page(tmp_path / name)
    assert np.array_equal(read_page(path, format=format), read_image(str(path), format))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_in_both_frames(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "p.jpg"
    Image.open(page(tmp_path / "p.png")).save(path, exif=exif)
    header = read_header(path)
    assert header.stored == (60, 80) and header.orientation == orientation
    assert np.array_equal(read_page(path), read_image(str(path), "RGB"))
    for size in {header.upright, header.stored}:
        assert read_page(path, size=size).shape[:2] == size[::-1]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_tiff_is_read_as_the_same_png(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = Image.open(page(tmp_path / "p.png"))
    for name in ("turned.png", "turned.tif"):
        picture.save(tmp_path / name, exif=exif)
    png, tif = (read_header(tmp_path / f"turned.{end}") for end in ("png", "tif"))
    assert (tif.stored, tif.upright, tif.orientation) == (png.stored, png.upright, orientation)
    for size in (None, png.upright, png.stored):
        pages = [read_page(tmp_path / f"turned.{end}", size=size) for end in ("png", "tif")]
        assert np.array_equal(*pages)


def test_16_bits_are_scaled_not_cut(tmp_path):
    values = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "p.png")
    assert read_page(tmp_path / "p.png")[0, :, 0].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize(("brightest", "said"), [(1023, True), (60_000, False), (0, False)])
def test_fewer_bits_in_16_are_told(tmp_path, caplog, monkeypatch, brightest, said):
    monkeypatch.setattr(logging.getLogger("graphkd"), "propagate", True)
    monkeypatch.setattr("graphkd.data.images._warned", [])
    Image.fromarray(np.array([[0, brightest]], dtype=np.uint16)).save(tmp_path / "p.png")
    for _ in range(2):
        read_page(tmp_path / "p.png")
    # Handlers that other tests left behind may show one record twice.
    told = {id(record): record.getMessage() for record in caplog.records}
    assert len(told) == said
    assert all(
        f"p.png: the brightest of its 16-bit values is {brightest} of" in m for m in told.values()
    )


def test_floats_are_shown(tmp_path):
    Image.fromarray(np.array([[0.0, 0.5, 1.0]], dtype=np.float32)).save(tmp_path / "p.tif")
    assert read_page(tmp_path / "p.tif")[0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_lies_on_white(tmp_path, mode):
    Image.new(mode, (4, 3), (0,) * len(mode)).save(tmp_path / "p.png")
    assert (read_page(tmp_path / "p.png") == 255).all()


def test_a_transparent_palette_colour_lies_on_white(tmp_path):
    picture = Image.new("P", (4, 3), 0)
    picture.putpalette([0, 0, 0, 255, 0, 0])
    picture.putpixel((0, 0), 1)
    picture.save(tmp_path / "p.png", transparency=0)
    seen = read_page(tmp_path / "p.png")
    assert seen[0, 0].tolist() == [255, 0, 0] and seen[2, 3].tolist() == [255, 255, 255]


def test_cmyk_white_is_white(tmp_path):
    Image.new("CMYK", (8, 8), (0, 0, 0, 0)).save(tmp_path / "p.jpg")
    assert read_page(tmp_path / "p.jpg").min() > 250


def test_only_the_first_frame_is_read(tmp_path):
    first, second = Image.new("L", (8, 8), 10), Image.new("L", (4, 4), 200)
    first.save(tmp_path / "p.tif", save_all=True, append_images=[second])
    assert read_header(tmp_path / "p.tif").frames == 2
    assert read_page(tmp_path / "p.tif").shape == (8, 8, 3)


def test_content_counts_not_the_extension(tmp_path):
    path = page(tmp_path / "p.png").rename(tmp_path / "p.jpg")
    assert wrong_extension(path, read_header(path))
    assert read_page(path).shape == (80, 60, 3)


@pytest.mark.parametrize("name", ["p.jpg", "p.png"])
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.95])
def test_cut_off_files_are_noticed(tmp_path, name, kept):
    path = page(tmp_path / name)
    header = read_header(path)
    assert ends_properly(path, header)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    assert not ends_properly(path, header)
    for read in (decode_test, read_page):
        with pytest.raises(ImageProblem, match="cut off") as caught:
            read(path)
        assert caught.value.kind == "image_truncated"


def test_bytes_after_the_end_are_legal(tmp_path):
    path = page(tmp_path / "p.jpg")
    path.write_bytes(path.read_bytes() + b"\0" * 100)
    decode_test(path)
    assert read_page(path).shape == (80, 60, 3)


@pytest.mark.parametrize("content", [b"", b"<html></html>", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image_is_refused_in_a_line(tmp_path, content):
    path = tmp_path / "p.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageProblem) as caught:
        read_page(path)
    assert caught.value.kind == "image_unreadable" and "\n" not in str(caught.value)


def test_damaged_bytes_never_crash(tmp_path):
    """Any byte may be wrong: the page is read, or refused with one kind of error."""
    rng = np.random.default_rng(0)
    for name in ("p.jpg", "p.png", "p.tif", "p.webp"):
        good = page(tmp_path / name).read_bytes()
        for _ in range(25):
            bad = bytearray(good)
            for place in rng.integers(0, min(len(bad), 600), 4):
                bad[place] = rng.integers(256)
            path = tmp_path / f"bad{name}"
            path.write_bytes(bytes(bad))
            try:
                assert read_page(path, max_pixels=10**6).ndim == 3
            except ImageProblem as problem:
                assert "\n" not in str(problem)


def test_too_many_pixels_are_refused_before_decoding(tmp_path):
    path = page(tmp_path / "p.png")
    with pytest.raises(ImageProblem, match="60 x 80 pixels; the limit") as caught:
        read_page(path, max_pixels=4799)
    assert caught.value.kind == "image_too_large"
    assert read_page(path, max_pixels=4800).shape == (80, 60, 3)
