"""Every kind of page comes out upright and in RGB, one at a time; damaged ones give an error."""

import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from graphkd.errors import UserError
from graphkd.predict.documents import parse_ranges
from graphkd.predict.sources import Failure, RawPage, find_files, read_file
from tests.predict.files import pdf, picture


def test_folders_are_read_in_natural_order_without_other_and_hidden_files(tmp_path):
    for name in ("page10.png", "page9.png", "Page1.PNG", "page.jpg"):
        picture(tmp_path / name)
    picture(tmp_path / "sub" / "deep.png")
    (tmp_path / "notes.txt").write_text("no page")
    (tmp_path / "._page9.png").write_bytes(b"")
    (tmp_path / "folder.pdf").mkdir()
    names = [path.name for path in find_files([tmp_path])]
    assert names == ["page.jpg", "Page1.PNG", "page9.png", "page10.png"]
    deep = [path.name for path in find_files([tmp_path], recursive=True)]
    assert sorted(deep) == sorted([*names, "deep.png"])
    out = tmp_path / "sub"
    assert len(find_files([tmp_path], recursive=True, outside=out)) == 4


def test_a_file_named_twice_is_read_once(tmp_path):
    page = picture(tmp_path / "a.png")
    assert find_files([tmp_path, page, tmp_path / "." / "a.png"]) == [page]


def test_nothing_to_read_is_a_users_mistake(tmp_path):
    with pytest.raises(UserError, match="gone.png: no such file or folder"):
        find_files([tmp_path / "gone.png"])
    (tmp_path / "notes.txt").write_text("no page")
    with pytest.raises(UserError, match="no file of a readable type"):
        find_files([tmp_path])


def test_a_link_to_a_file_that_is_gone_is_a_failed_page(tmp_path):
    page, gone, loop = (tmp_path / f"{name}.jpg" for name in ("a", "gone", "loop"))
    picture(page)
    gone.symlink_to(tmp_path / "nowhere.jpg")
    loop.symlink_to(loop)
    assert find_files([tmp_path]) == [page, gone, loop]
    for path in (gone, loop):
        assert find_files([path]) == [path]
        (failure,) = read_file(path)
        assert failure == Failure(str(path), None, "a link to a file that does not exist")


def test_pipes_and_devices_are_told_not_waited_for(tmp_path):
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    for path in (pipe, "/dev/null"):
        with pytest.raises(UserError, match=f"{path}: not a regular file"):
            find_files([path])
    (file,) = find_files([tmp_path])
    assert list(read_file(file)) == [Failure(str(pipe), None, "not a regular file")]


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "RGBA", "CMYK", "I;16"])
def test_any_kind_of_picture_is_rgb(tmp_path, mode):
    if mode == "I;16":
        Image.fromarray(np.full((80, 60), 65535, np.uint16)).save(tmp_path / "a.tif")
    else:
        Image.new("RGB", (60, 80), "white").convert(mode).save(tmp_path / "a.tif")
    (page,) = read_file(tmp_path / "a.tif")
    assert (page.number, page.pages) == (1, 1)
    assert page.pixels.shape == (80, 60, 3) and page.pixels.dtype == np.uint8
    assert (page.pixels >= 254).all()


def test_pdf_pages_are_drawn_at_the_resolution(tmp_path):
    file = pdf(tmp_path / "book.pdf", pages=3, size=(144, 72))
    pages = list(read_file(file, dpi=100))
    assert [(page.number, page.pages) for page in pages] == [(1, 3), (2, 3), (3, 3)]
    for number, page in enumerate(pages, start=1):
        assert page.pixels.shape == (100, 200, 3)
        red, green, blue = page.pixels[50, 100].tolist()
        assert abs(red - number * 25.5) <= 1 and green == 0 and blue == 255


def test_page_ranges(tmp_path):
    file = pdf(tmp_path / "book.pdf", pages=5)
    assert [p.number for p in read_file(file, wanted=parse_ranges("2-3,5,9"))] == [2, 3, 5]
    (failure,) = read_file(file, wanted=parse_ranges("7-"))
    assert failure == Failure(str(file), None, "it has 5 pages, none of 7-")
    single = picture(tmp_path / "a.png")
    (page,) = read_file(single, wanted=parse_ranges("7"))
    assert isinstance(page, RawPage)


def test_a_pdf_is_known_by_its_content(tmp_path):
    file = pdf(tmp_path / "book.pdf").rename(tmp_path / "book.png")
    assert len(list(read_file(file))) == 3


def test_tiffs_of_several_pages(tmp_path):
    pages = [Image.new("RGB", (40 + n, 50), (n * 20, 0, 0)) for n in range(3)]
    file = tmp_path / "book.tif"
    pages[0].save(file, save_all=True, append_images=pages[1:], compression="tiff_lzw")
    read = list(read_file(file))
    assert [page.pixels.shape for page in read] == [(50, 40, 3), (50, 41, 3), (50, 42, 3)]
    assert [int(page.pixels[0, 0, 0]) for page in read] == [0, 20, 40]
    assert [page.number for page in read_file(file, wanted=parse_ranges("3"))] == [3]


def test_small_copies_in_a_tiff_are_no_pages(tmp_path):
    big, small = Image.new("RGB", (40, 50)), Image.new("RGB", (4, 5))
    small.encoderinfo = {"tiffinfo": {254: 1}}
    file = tmp_path / "a.tif"
    big.save(file, save_all=True, append_images=[small])
    with Image.open(file) as check:
        check.seek(1)
        assert check.tag_v2[254] == 1
    (page,) = read_file(file)
    assert page.pixels.shape == (50, 40, 3) and page.pages == 1


def test_a_small_copy_before_the_page_of_a_tiff_is_passed_over(tmp_path):
    big, small = Image.new("RGB", (40, 50), (9, 0, 0)), Image.new("RGB", (4, 5))
    file = tmp_path / "a.tif"
    small.save(file, save_all=True, append_images=[big], tiffinfo={254: 1})
    with Image.open(file) as check:
        kinds = [check.tag_v2.get(254, 0) for index in range(2) if not check.seek(index)]
    assert kinds[0] == 1
    if kinds[1] == 1:
        # Pillow gives the tag to every frame: take it from the second.
        content = file.read_bytes()
        entry = b"\xfe\x00\x04\x00\x01\x00\x00\x00\x01\x00\x00\x00"
        place = content.rindex(entry)
        file.write_bytes(content[: place + 8] + bytes(4) + content[place + 12 :])
    (page,) = read_file(file)
    assert page.pixels.shape == (50, 40, 3) and page.pixels[0, 0, 0] == 9
    assert (page.number, page.pages) == (1, 1)


def test_a_tiff_of_one_page_has_no_other(tmp_path):
    file = tmp_path / "a.tif"
    Image.new("RGB", (40, 50)).save(file)
    (page,) = read_file(file, wanted=parse_ranges("1"))
    assert isinstance(page, RawPage)
    (failure,) = read_file(file, wanted=parse_ranges("2-"))
    assert str(failure).endswith("it has 1 page, none of 2-")


def test_a_picture_that_speaks_of_a_pdf_is_a_picture(tmp_path):
    file = tmp_path / "a.jpg"
    Image.new("RGB", (40, 50)).save(file, comment=b"made from %PDF-1.4 scan")
    assert b"%PDF-" in file.read_bytes()[:1024]
    (page,) = read_file(file)
    assert page.pixels.shape == (50, 40, 3)
    book = pdf(tmp_path / "b.pdf")
    book.write_bytes(b"\n\n" + book.read_bytes())
    assert len(list(read_file(book))) == 3


@pytest.mark.parametrize("recursive", [False, True])
def test_a_folder_that_cannot_be_looked_into_is_told(tmp_path, monkeypatch, recursive):
    """Refused by hand: the rights of files do not bind root."""
    closed = tmp_path / "in" / "closed"
    closed.mkdir(parents=True)
    page = picture(tmp_path / "in" / "a.png")
    look = os.scandir

    def scandir(path):
        if str(path) == str(closed):
            raise PermissionError(13, "Permission denied", str(path))
        return look(path)

    monkeypatch.setattr(os, "scandir", scandir)
    inputs = [tmp_path / "in"] if recursive else [page, closed]
    assert find_files(inputs, recursive=recursive) == [page, closed]
    (failure,) = read_file(closed)
    assert str(failure) == f"{closed}: a folder that cannot be read"


def test_a_damaged_page_of_a_tiff_does_not_stop_the_others(tmp_path):
    pages = [Image.effect_noise((64, 64), 90) for _ in range(3)]
    file = tmp_path / "book.tif"
    pages[0].save(file, save_all=True, append_images=pages[1:], compression="tiff_deflate")
    with Image.open(file) as image:
        image.seek(1)
        start = image.tag_v2[273][0]
    content = bytearray(file.read_bytes())
    content[start : start + 200] = bytes(200)
    file.write_bytes(content)
    first, second, third = read_file(file)
    assert isinstance(first, RawPage) and isinstance(third, RawPage)
    assert isinstance(second, Failure) and second.number == 2


def bomb(path):
    """A PNG of a few bytes that claims 60000 x 60000 pixels."""
    head = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


def cut(path):
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    return path


def text(path, content):
    path.write_text(content)
    return path


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda d: bomb(d / "a.png"), "million pixels"),
        (lambda d: text(d / "a.png", ""), "empty"),
        (lambda d: text(d / "a.png", "words"), "not an image"),
        (lambda d: text(d / "notes.docx", "words"), "not an image"),
        (lambda d: text(d / "a.pdf", "%PDF-1.7 and nothing more"), "damaged PDF"),
        (lambda d: pdf(d / "a.pdf", password="secret"), "needs a password"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path, make, reason):
    file = make(tmp_path)
    (failure,) = read_file(file)
    assert isinstance(failure, Failure) and failure.number is None
    assert reason in str(failure) and str(failure).startswith(f"{file}: ")
    assert "\n" not in str(failure)


def test_a_cut_off_picture(tmp_path):
    noise = Image.effect_noise((200, 200), 90)
    noise.save(tmp_path / "a.jpg")
    (failure,) = read_file(cut(tmp_path / "a.jpg"))
    assert isinstance(failure, Failure)


def test_a_huge_pdf_page_is_refused_and_the_next_is_read(tmp_path):
    from reportlab.pdfgen.canvas import Canvas

    canvas = Canvas(str(tmp_path / "a.pdf"), pagesize=(14000, 14000))
    canvas.showPage()
    canvas.setPageSize((72, 72))
    canvas.showPage()
    canvas.save()
    huge, small = read_file(tmp_path / "a.pdf", dpi=150)
    assert huge.number == 1 and "--dpi" in huge.reason and huge.pages == 2
    assert small.pixels.shape == (150, 150, 3)


def test_a_file_name_that_is_no_text(tmp_path):
    name = os.fsencode(tmp_path) + b"/\xe9.png"
    picture(tmp_path / "a.png").rename(os.fsdecode(name))
    (file,) = find_files([tmp_path])
    (page,) = read_file(file)
    assert page.source.endswith("\ufffd.png")
    page.source.encode()
