"""Folders of generated pages: COCO files, worker processes, interrupted runs, reuse."""

import json
import logging
import multiprocessing
from pathlib import Path

import pytest
from PIL import Image

from graphkd.errors import UserError
from graphkd.synthesis import SPLITS, Split, ensure, folders, generate


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "train"
    generate(folder, pages=8, seed=11, long_side=256, workers=1, progress=False)
    return folder


@pytest.fixture
def small(monkeypatch) -> None:
    plans = {"train": Split(3, 1, 128), "val": Split(2, 2, 128)}
    monkeypatch.setitem(SPLITS, "pages_tiny", plans)


def test_workers_change_nothing(made, tmp_path):
    generate(tmp_path / "other", pages=8, seed=11, long_side=256, workers=3, progress=False)
    assert contents(tmp_path / "other") == contents(made)


def test_coco_files_are_consistent(made):
    eleven = json.loads((made / "annotations_11.json").read_text())
    five = json.loads((made / "annotations_5.json").read_text())
    assert eleven["images"] == five["images"] and eleven["info"] == five["info"]
    assert eleven["info"]["seed"] == 11 and eleven["info"]["version"] == folders.VERSION
    for coco, count in ((eleven, 11), (five, 5)):
        assert [c["id"] for c in coco["categories"]] == list(range(1, count + 1))
        assert [a["id"] for a in coco["annotations"]] == list(
            range(1, len(coco["annotations"]) + 1)
        )
        sizes = {i["id"]: (i["width"], i["height"]) for i in coco["images"]}
        for a in coco["annotations"]:
            x, y, w, h = a["bbox"]
            wide, high = sizes[a["image_id"]]
            assert (
                0 <= x
                and 0 <= y
                and x + w <= wide + 0.01
                and y + h <= high + 0.01
                and w > 0
                and h > 0
            )
            assert a["area"] == pytest.approx(w * h, abs=0.01) and a["iscrowd"] == 0
            assert a["segmentation"][0][4:6] == pytest.approx([x + w, y + h], abs=0.01)
    for image in eleven["images"]:
        with Image.open(made / "images" / image["file_name"]) as picture:
            assert picture.size == (image["width"], image["height"])
    area = {
        c: sum(a["area"] for a in coco["annotations"] if a["category_id"] in ids)
        for c, coco, ids in (("five", five, {5}), ("eleven", eleven, {7}))
    }
    assert area["five"] == area["eleven"]


def test_pycocotools_reads_them(made):
    coco = pytest.importorskip("pycocotools.coco").COCO(str(made / "annotations_5.json"))
    assert len(coco.getImgIds()) == 8 and coco.getCatIds() == [1, 2, 3, 4, 5]


def test_splits_are_disjoint_and_within_a_set_of_one_size():
    for plans in SPLITS.values():
        assert set(plans) == {"train", "val", "test"}
        assert len({plan.seed for plan in plans.values()}) == 3
        assert len({plan.long_side for plan in plans.values()}) == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failing_run_leaves_nothing(tmp_path, monkeypatch, workers):
    def fail(seed, index, **options):
        raise RuntimeError(f"page {index}")

    monkeypatch.setattr(folders, "make_page", fail)
    with pytest.raises(RuntimeError, match="page 0"):
        generate(tmp_path / "out", pages=4, seed=1, workers=workers, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_a_filled_folder_and_bad_arguments_are_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        generate(tmp_path, pages=1, seed=1)
    for wrong in ({"pages": 0}, {"seed": -1}, {"long_side": 10}, {"scan": 1.5}):
        with pytest.raises(UserError, match="cannot generate"):
            generate(tmp_path / "out", **{"pages": 1, "seed": 1, **wrong})
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_ensure_makes_once_and_again_for_another_version(tmp_path, monkeypatch, small, caplog):
    folder = ensure(tmp_path, "pages_tiny", "val")
    assert folder == tmp_path / "pages_tiny" / "val"
    before = (folder / "annotations_11.json").stat().st_mtime_ns
    ensure(tmp_path, "pages_tiny", "val")
    assert (folder / "annotations_11.json").stat().st_mtime_ns == before
    monkeypatch.setattr(folders, "VERSION", folders.VERSION + 1)
    with caplog.at_level(logging.INFO):
        ensure(tmp_path, "pages_tiny", "val")
    assert "generating it anew" in caplog.text
    assert (
        json.loads((folder / "annotations_11.json").read_text())["info"]["version"]
        == folders.VERSION
    )


def test_ensure_clears_what_a_killed_run_left(tmp_path, small):
    left = tmp_path / "pages_tiny" / ".val.making-0123abcd"
    left.mkdir(parents=True)
    ensure(tmp_path, "pages_tiny", "val")
    assert not left.exists()


def test_ensure_never_deletes_foreign_files(tmp_path, small):
    folder = tmp_path / "pages_tiny" / "val"
    folder.mkdir(parents=True)
    (folder / "annotations_11.json").write_text("{}")
    with pytest.raises(UserError, match="move it away"):
        ensure(tmp_path, "pages_tiny", "val")
    with pytest.raises(UserError, match="choose one of"):
        ensure(tmp_path, "pages_tiny", "nothing")


def test_two_processes_may_ask_at_once(tmp_path, small):
    context = multiprocessing.get_context("fork")
    workers = [
        context.Process(target=ensure, args=(tmp_path, "pages_tiny", "train")) for _ in range(3)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert len(list((tmp_path / "pages_tiny" / "train" / "images").iterdir())) == 3


def test_line_files_fit_the_images(made):
    rows = [json.loads(row) for row in (made / folders.LINES).read_text().splitlines()]
    assert len(rows) == 8 and sum(len(row["lines"]) for row in rows) > 100
    for row in rows:
        with Image.open(made / row["path"]) as picture:
            assert picture.size == (row["width"], row["height"])
        for line in row["lines"]:
            assert set(line) == {"polygon", "text", "ignore"}
            assert all(
                0 <= x <= row["width"] and 0 <= y <= row["height"] for x, y in line["polygon"]
            )


def test_lines_are_added_to_pages_that_were_made_without_them(tmp_path, small):
    folder = ensure(tmp_path, "pages_tiny", "val")
    before = contents(folder)
    times = {path: path.stat().st_mtime_ns for path in (folder / "images").iterdir()}
    (folder / folders.LINES).unlink()
    ensure(tmp_path, "pages_tiny", "val")
    assert contents(folder) == before
    assert {path: path.stat().st_mtime_ns for path in (folder / "images").iterdir()} == times
