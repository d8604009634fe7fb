"""Loading by name: cleaned pages, the json they are scored against, generated pages on demand."""

import json

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from graphkd.data import catalog
from graphkd.errors import UserError
from tests.data.sets import document, write_set


def test_a_missing_set_says_what_to_do(data_root):
    catalog.register_all()
    with pytest.raises(
        UserError, match=r"prima_train is missing.*prima/train\.json.*convert prima"
    ):
        DatasetCatalog.get("prima_train")


def test_scoring_follows_the_repaired_boxes(data_root):
    broken = document()
    broken["annotations"][0]["bbox"] = [50, 6, 20, 30]  # reaches over the right edge
    broken["annotations"][2]["bbox"] = [5, 5, 0, 10]  # no area
    json_file, images = write_set(data_root / "letters", broken)
    source = json_file.read_bytes()
    catalog.add_own("letters", json_file, images)
    pages = DatasetCatalog.get("letters")
    scored = MetadataCatalog.get("letters").json_file
    assert scored != str(json_file)
    with open(scored, encoding="utf-8") as stream:
        truth = json.load(stream)
    boxes = [a["bbox"] for page in pages for a in page["annotations"]]
    assert [a["bbox"] for a in truth["annotations"]] == boxes == [[50, 6, 10, 30], [30, 40, 25, 35]]
    assert json_file.read_bytes() == source
    assert DatasetCatalog.get("letters") == pages


def test_a_cache_that_cannot_be_written_is_explained(data_root, tmp_path, monkeypatch):
    broken = document()
    broken["annotations"][0]["bbox"] = [50, 6, 20, 30]
    catalog.add_own("letters", *write_set(data_root / "letters", broken))
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match="letters: the cleaned boxes.*XDG_CACHE_HOME"):
        DatasetCatalog.get("letters")


def test_clean_data_is_scored_against_its_own_json(data_root):
    json_file, images = write_set(data_root / "letters")
    catalog.add_own("letters", json_file, images)
    DatasetCatalog.get("letters")
    assert MetadataCatalog.get("letters").json_file == str(json_file)


def test_changed_class_ids_are_noticed(data_root):
    json_file, images = write_set(data_root / "letters")
    catalog.add_own("letters", json_file, images)
    swapped = document(categories=[{"id": 2, "name": "text"}, {"id": 1, "name": "figure"}])
    json_file.write_text(json.dumps(swapped))
    with pytest.raises(UserError, match="class ids .* are not those registered for letters"):
        DatasetCatalog.get("letters")


def test_generated_pages_are_made_on_loading(data_root, monkeypatch):
    made = []

    def ensure(base, name, split):
        made.append((name, split))
        folder = base / name / split
        content = document(categories=[{"id": i + 1, "name": n} for i, n in enumerate(names)])
        path, _ = write_set(folder, content)
        path.rename(folder / "annotations_5.json")
        return folder

    names = catalog.dataset_classes(["pages_tiny_val"])
    assert not data_root.exists()
    monkeypatch.setattr("graphkd.synthesis.ensure", ensure)
    assert len(DatasetCatalog.get("pages_tiny_val")) == 2
    assert made == [("pages_tiny", "val")]
    assert catalog.locate("pages_tiny_val")[0].is_file()
