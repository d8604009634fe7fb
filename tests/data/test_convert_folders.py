"""Which picture a converter's boxes go to, and into which folders it writes."""

import errno
import json
from pathlib import Path

import pytest
from PIL import Image

from graphkd.cli import main
from graphkd.data.convert import convert_xml
from graphkd.data.convert.readers import read_alto, read_voc
from graphkd.errors import UserError
from graphkd.io import NewFolder
from tests.data.sets import page, write_set
from tests.data.test_convert import ALTO, VOC, put


def voc(name, left):
    """Pascal VOC of one page whose first box tells the file by its left edge."""
    return VOC.replace("p1.jpg", name).replace("<xmin>5<", f"<xmin>{left}<")


def joined(out):
    """Image name -> left edge of its first box."""
    content = json.loads((out / "annotations.json").read_text())
    names = {image["id"]: image["file_name"] for image in content["images"]}
    first = {}
    for box in content["annotations"]:
        first.setdefault(names[box["image_id"]], box["bbox"][0])
    return first


def parallel(folder):
    for left, (split, number) in enumerate([("train", 1), ("val", 1), ("val", 2)], start=1):
        put(folder / f"ann/{split}/{number}.xml", voc(f"{number}.jpg", left))
    for split in ("train", "val"):
        for number in (1, 2):
            page(folder / f"images/{split}/{number}.jpg")
    return folder


def test_parallel_folders_of_one_name_belong_together(tmp_path):
    done = convert_xml(read_voc, parallel(tmp_path / "in"), tmp_path / "out")
    assert done.left_out == []
    assert joined(tmp_path / "out") == {"train/1.jpg": 1, "val/1.jpg": 2, "val/2.jpg": 3}


def test_parallel_folders_are_known_from_wherever_they_are_named(tmp_path, monkeypatch):
    folder = parallel(tmp_path / "in")
    monkeypatch.chdir(folder / "ann/val")
    done = convert_xml(read_voc, ".", tmp_path / "out", images="../../images")
    assert done.left_out == []
    assert joined(tmp_path / "out") == {"1.jpg": 2, "2.jpg": 3}


def test_volumes_keep_their_boxes(tmp_path):
    for volume, left in (("vol1", 10), ("vol2", 20)):
        text = ALTO.replace('HPOS="60"', f'HPOS="{left}"').replace('B1" ID', '" ID')
        put(tmp_path / f"in/alto/{volume}/p1.xml", text)
        page(tmp_path / f"in/images/{volume}/p1.jpg", width=120, height=160)
    done = convert_xml(read_alto, tmp_path / "in", tmp_path / "out")
    assert done.left_out == []
    assert joined(tmp_path / "out") == {"vol1/p1.jpg": 10, "vol2/p1.jpg": 20}


def test_an_image_is_its_own_files_even_where_another_names_it_first(tmp_path):
    folder = parallel(tmp_path / "in")
    (folder / "images/train/1.jpg").unlink()
    done = convert_xml(read_voc, folder, tmp_path / "out")
    assert joined(tmp_path / "out") == {"1.jpg": 2, "2.jpg": 3}
    (line,) = done.left_out
    assert line.startswith(str(folder / "ann/train/1.xml"))
    assert line.endswith(f"val/1.jpg has its boxes from {folder / 'ann/val/1.xml'}")


def test_what_cannot_be_told_apart_is_left_out(tmp_path):
    put(tmp_path / "in/ann/x/1.xml", voc("1.jpg", 1))
    put(tmp_path / "in/ann/x/2.xml", voc("2.jpg", 2))
    put(tmp_path / "in/ann/x/3.xml", voc("3.tif", 3))
    for name in ("a/1.jpg", "b/1.jpg", "b/2.jpg", "b/3.jpg", "b/3.png"):
        page(tmp_path / "in/images" / name)
    done = convert_xml(read_voc, tmp_path / "in", tmp_path / "out")
    assert joined(tmp_path / "out") == {"2.jpg": 2}
    assert [line.split(": ", 1)[1] for line in done.left_out] == [
        "2 images may be 1.jpg (images/a/1.jpg, images/b/1.jpg); which one is not clear",
        "2 images may be 3.tif (images/b/3.jpg, images/b/3.png); which one is not clear",
    ]


def test_missing_images_are_said_with_the_place_and_the_way_out(tmp_path, capsys):
    put(tmp_path / "in/p1.xml", VOC)
    assert main(["data", "convert", "voc", str(tmp_path / "in"), "--out", str(tmp_path / "o")]) == 2
    said = capsys.readouterr().err
    assert f"no image p1.jpg found below {tmp_path / 'in'}" in said and "--images" in said
    page(tmp_path / "in/other.jpg")
    with pytest.raises(UserError, match="no image p1.jpg found below") as caught:
        convert_xml(read_voc, tmp_path / "in", tmp_path / "out")
    assert "--images" not in str(caught.value)


def test_converting_into_the_current_folder(tmp_path, monkeypatch, capsys):
    put(tmp_path / "in/p1.xml", VOC.replace("<object><bndbox>", "<object><name>x</name><bndbox>"))
    page(tmp_path / "in/p1.jpg")
    for place in (tmp_path / "beside", tmp_path / "in/inside"):
        place.mkdir()
        monkeypatch.chdir(place)
        source = "../in" if place.name == "beside" else ".."
        assert main(["data", "convert", "voc", source, "--out", "."]) == 0
        assert sorted(p.name for p in Path().iterdir()) == ["annotations.json", "images"]
        (tmp_path / "in/inside/images/p1.jpg").unlink(missing_ok=True)
    capsys.readouterr()


def test_converting_into_the_input_is_refused_with_the_reason(tmp_path, capsys):
    put(tmp_path / "in/p1.xml", VOC)
    page(tmp_path / "in/p1.jpg")
    words = ["data", "convert", "voc", str(tmp_path / "in"), "--out", str(tmp_path / "in")]
    assert main(words) == 2
    assert "is already there and not empty; name a new folder" in capsys.readouterr().err
    assert sorted(p.name for p in (tmp_path / "in").iterdir()) == ["p1.jpg", "p1.xml"]


def fix(tmp_path, out):
    return main(["data", "check", str(write_set(tmp_path / "set")[0]), "--fix", str(out)])


def test_repairing_into_the_current_folder(tmp_path, monkeypatch, capsys):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert fix(tmp_path, ".") == 0
    assert sorted(p.name for p in Path().iterdir()) == ["annotations.json", "images"]
    assert "it checks clean" in capsys.readouterr().out


def test_repairing_into_a_linked_folder(tmp_path, capsys):
    (tmp_path / "disk").mkdir()
    for name, target in (("link", "disk"), ("dangling", "new")):
        (tmp_path / name).symlink_to(tmp_path / target)
        assert fix(tmp_path, tmp_path / name) == 0
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / target / "annotations.json").is_file()
    assert "it checks clean" in capsys.readouterr().out


def test_a_folder_that_cannot_be_renamed_onto_is_filled(tmp_path, monkeypatch, capsys):
    out = tmp_path / "mnt"
    out.mkdir()
    real = Path.rename

    def busy(path, target):
        if Path(target) == out:
            raise OSError(errno.EBUSY, "Device or resource busy")
        return real(path, target)

    monkeypatch.setattr(Path, "rename", busy)
    monkeypatch.setattr(Path, "rmdir", lambda path: None if path != out else busy(path, path))
    assert fix(tmp_path, out) == 0
    assert Image.open(out / "images/a.jpg").size == (60, 80)
    assert not (tmp_path / "mnt.partial").exists()
    capsys.readouterr()


@pytest.mark.parametrize("there", [True, False])
def test_work_that_cannot_be_moved_is_kept_and_named(tmp_path, monkeypatch, capsys, there):
    out = tmp_path / "out"
    if there:
        out.mkdir()

    def full(path, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "rename", full)
    assert fix(tmp_path, out) == 2
    said = capsys.readouterr().err.strip()
    kept = out / ".partial" if there else tmp_path / "out.partial"
    assert len(said.splitlines()) == 1 and said.endswith(f"it is in {kept}")
    assert (kept / "annotations.json").is_file()
    assert fix(tmp_path, out) == 2
    assert f"{kept} is left from an earlier run; delete it" in capsys.readouterr().err


def test_a_file_is_no_folder_to_write(tmp_path, capsys):
    (tmp_path / "out").write_text("mine")
    assert fix(tmp_path, tmp_path / "out") == 2
    assert "already there" in capsys.readouterr().err


def test_a_failed_block_leaves_an_empty_folder_as_it_was(tmp_path):
    with pytest.raises(KeyError), NewFolder(tmp_path) as draft:
        (draft / "half").mkdir()
        raise KeyError
    assert list(tmp_path.iterdir()) == []
