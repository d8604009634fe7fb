"""Damaged, odd and hostile pictures: each is read, or refused in a line, in little memory."""

import io
import struct
import zlib
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from graphkd.data.images import ImageProblem, decode_test, read_header, read_page
from tests.data.fuzz import MEGABYTE, QUICK, confined, damaged, works_or_says


def stored(image, format, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


@cache
def good_files() -> dict[str, bytes]:
    """One small picture of every kind that people have."""
    noise = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    rgb = Image.fromarray(noise)
    gray16 = Image.fromarray(noise[:, :, 0].astype(np.uint16) * 257)
    frames = [rgb.rotate(angle) for angle in (0, 90, 180)]
    palette = rgb.convert("P")
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        "jpeg": stored(rgb, "JPEG"),
        "progressive jpeg": stored(rgb, "JPEG", progressive=True),
        "turned jpeg": stored(rgb, "JPEG", exif=exif),
        "cmyk jpeg": stored(rgb.convert("CMYK"), "JPEG"),
        "png": stored(rgb, "PNG"),
        "transparent png": stored(rgb.convert("RGBA"), "PNG"),
        "palette png": stored(palette, "PNG", transparency=3),
        "16 bit png": stored(gray16, "PNG"),
        "bilevel png": stored(rgb.convert("1"), "PNG"),
        "animated png": stored(frames[0], "PNG", save_all=True, append_images=frames[1:]),
        "gif": stored(palette, "GIF"),
        "animated gif": stored(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "tiff": stored(rgb, "TIFF"),
        "lzw tiff": stored(rgb, "TIFF", compression="tiff_lzw"),
        "fax tiff": stored(rgb.convert("1"), "TIFF", compression="group4"),
        "cmyk tiff": stored(rgb.convert("CMYK"), "TIFF"),
        "16 bit tiff": stored(gray16, "TIFF"),
        "float tiff": stored(Image.fromarray(noise[:, :, 0].astype(np.float32)), "TIFF"),
        "tiff of pages": stored(frames[0], "TIFF", save_all=True, append_images=frames[1:]),
        "bmp": stored(rgb, "BMP"),
        "webp": stored(rgb, "WEBP"),
        "animated webp": stored(frames[0], "WEBP", save_all=True, append_images=frames[1:]),
        "jpeg 2000": stored(rgb, "JPEG2000"),
        "ppm": stored(rgb, "PPM"),
    }


@pytest.mark.parametrize("kind", good_files())
def test_every_kind_is_read_whole(tmp_path, kind):
    path = tmp_path / "page.png"  # the content decides, not the name
    path.write_bytes(good_files()[kind])
    pixels = read_page(path)
    assert pixels.dtype == np.uint8 and pixels.shape[2] == 3
    assert sorted(pixels.shape[:2]) == [30, 40]
    decode_test(path)


@QUICK
@given(data=st.data())
@pytest.mark.parametrize("kind", good_files())
def test_damage_never_does_more_than_refuse(tmp_path, kind, data):
    path = tmp_path / "page.jpg"
    path.write_bytes(data.draw(damaged(good_files()[kind])))
    limit = {"max_pixels": 10**6}
    header = works_or_says(lambda: read_header(path, **limit), ImageProblem)
    works_or_says(lambda: decode_test(path, **limit), ImageProblem)
    pixels = works_or_says(lambda: read_page(path, **limit), ImageProblem)
    if pixels is not None:
        assert header is not None and pixels.dtype == np.uint8 and pixels.ndim == 3
        assert pixels.shape[:2] == header.upright[::-1]


def chunk(kind: bytes, content: bytes) -> bytes:
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def png(width, height, *, data=b"", bits=8, colour=2, before=b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    parts = chunk(b"IHDR", header), before, chunk(b"IDAT", zlib.compress(data)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


READ = """
import sys
from graphkd.data.images import ImageProblem, decode_test, read_header, read_page
for action in (read_header, decode_test, read_page):
    try:
        found = action(sys.argv[1])
        print("read", getattr(found, "shape", ""))
    except ImageProblem as error:
        assert "\\n" not in str(error)
        print(error.kind)
"""


def read_confined(path, content: bytes, *, memory=1500):
    path.write_bytes(content)
    said, peak = confined(READ, path, memory=memory * MEGABYTE)
    return said.splitlines(), peak / MEGABYTE


def test_a_header_of_1600_million_pixels_is_refused_before_memory_is_taken(tmp_path):
    said, peak = read_confined(tmp_path / "a.png", png(40_000, 40_000))
    assert said == ["image_too_large"] * 3 and peak < 150


def test_a_big_header_with_little_data_stays_within_the_limit(tmp_path):
    """Just below the limit on pixels: gray, as scans are."""
    said, peak = read_confined(tmp_path / "a.png", png(13_000, 13_000, colour=0))
    assert said[1:] == ["image_truncated"] * 2 and peak < 600


def test_a_strip_of_40000_pixels_is_read(tmp_path):
    row = b"\0" + bytes(3 * 40_000)
    said, _ = read_confined(tmp_path / "a.png", png(40_000, 1, data=row))
    assert said[2] == "read (1, 40000, 3)"
    said, _ = read_confined(tmp_path / "a.png", png(1, 40_000, data=b"\0\0\0\0" * 40_000))
    assert said[2] == "read (40000, 1, 3)"


def test_a_big_16_bit_page_takes_a_few_bytes_a_pixel(tmp_path):
    """50 million pixels; float copies of the whole page would take 600 MB and more."""
    data = bytes(1 + 2 * 10_000) * 5_000
    said, peak = read_confined(
        tmp_path / "a.png", png(10_000, 5_000, data=data, bits=16, colour=0), memory=1200
    )
    assert said[2] == "read (5000, 10000, 3)" and peak < 800


def test_packed_texts_and_profiles_do_not_unpack_into_memory(tmp_path):
    bomb = zlib.compress(bytes(300 * MEGABYTE), 9)
    for name in (b"zTXt", b"iCCP"):
        before = chunk(name, b"name\0\0" + bomb)
        content = png(2, 2, data=bytes(14), before=before)
        _, peak = read_confined(tmp_path / "a.png", content)
        assert peak < 200


def test_a_tiff_whose_pages_go_in_a_circle_ends(tmp_path):
    raw = bytearray(good_files()["tiff of pages"])
    assert raw[:4] == b"II*\0"
    place = int.from_bytes(raw[4:8], "little")
    first = place
    while True:  # to the last page's link, which is made to point at the first page
        place += 2 + 12 * int.from_bytes(raw[place : place + 2], "little")
        follow = int.from_bytes(raw[place : place + 4], "little")
        if not follow:
            break
        place = follow
    raw[place : place + 4] = first.to_bytes(4, "little")
    said, _ = read_confined(tmp_path / "a.tif", bytes(raw))
    assert said[2] == "read (30, 40, 3)"


def test_a_gif_of_very_many_frames_is_read_without_decoding_them(tmp_path):
    frame = good_files()["gif"]
    body = frame[frame.index(b"\x2c") : -1]
    content = frame[:-1] + body * 2000 + b";"
    said, peak = read_confined(tmp_path / "a.gif", content)
    assert said[2] == "read (30, 40, 3)" and peak < 200


@pytest.mark.parametrize(
    "content",
    [
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(%pipe%touch x) (w) file",
        b"\xd7\xcd\xc6\x9a" + bytes(100),
    ],
    ids=["postscript", "wmf"],
)
def test_formats_that_need_a_program_are_not_opened(tmp_path, content):
    """Pillow hands PostScript to Ghostscript, whatever the file is called."""
    path = tmp_path / "page.png"
    path.write_bytes(content)
    with pytest.raises(ImageProblem, match="not an image that can be read"):
        read_header(path)
