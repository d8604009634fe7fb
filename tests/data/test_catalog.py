"""Names in Detectron2's catalogs: known sets, generated pages and the user's own."""

import json

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances

from graphkd.data import catalog
from graphkd.data.entries import known_entries
from graphkd.errors import UserError
from tests.data.sets import document, write_set


def test_registering_touches_no_file_and_can_be_repeated(data_root):
    catalog.register_all()
    catalog.register_all()
    assert not data_root.exists()
    assert {"pages_train", "pages11_tiny_test", "publaynet_val", "hj_test"} <= set(DatasetCatalog)
    assert len(catalog.dataset_classes(["doclaynet_train", "pages11_val"])) == 11


def test_metadata_is_complete_before_the_data_exists(data_root):
    catalog.register_all()
    metadata = MetadataCatalog.get("segmonto_val")
    assert metadata.thing_classes[:2] == ["MainZone", "MarginTextZone"]
    assert metadata.thing_dataset_id_to_contiguous_id == {i + 1: i for i in range(9)}
    assert metadata.json_file == str(data_root / "segmonto" / "val.json")
    assert metadata.image_root == str(data_root / "segmonto" / "images")
    assert metadata.evaluator_type == "coco"
    assert len(metadata.text_classes) == 5


def test_every_known_text_class_is_a_class(tmp_path):
    for entry in known_entries(tmp_path):
        texts, classes = set(entry.text_classes), set(entry.classes)
        assert texts < classes or (entry.kind != "coco" and texts == classes), entry.name
        assert len(set(entry.classes)) == len(entry.classes), entry.name


def test_a_taken_name_is_a_clash_but_the_same_file_is_not(data_root):
    same = str(data_root / "publaynet" / "val.json")
    register_coco_instances("publaynet_val", {}, same, str(data_root / "publaynet" / "val"))
    catalog.register_all()
    catalog.unregister_all()
    DatasetCatalog.pop("publaynet_val")
    MetadataCatalog.pop("publaynet_val")
    register_coco_instances("publaynet_val", {}, "other.json", "images")
    with pytest.raises(UserError, match="publaynet_val is already taken by other.json"):
        catalog.register_all()


def test_another_root_is_a_clash(data_root, tmp_path):
    catalog.register_all()
    with pytest.raises(UserError, match="already taken"):
        catalog.register_all(tmp_path / "elsewhere")


def test_own_data_is_stored_and_comes_back(data_root):
    json_file, images = write_set(data_root / "letters")
    entry = catalog.add_own("letters", json_file, images, text_classes=["text"])
    assert entry.classes == ("text", "figure")
    stored = (data_root / "registered.yaml").read_text(encoding="utf-8")
    assert "json: letters/annotations.json" in stored  # relative, so the folder can be moved
    catalog.unregister_all()
    catalog.register_all()
    assert catalog.dataset_classes(["letters"]) == ("text", "figure")
    assert catalog.text_classes("letters") == ("text",)
    assert [len(page["annotations"]) for page in DatasetCatalog.get("letters")] == [2, 1]


def test_own_data_may_be_registered_again(data_root, tmp_path):
    catalog.add_own("letters", *write_set(data_root / "one"))
    catalog.add_own("letters", *write_set(data_root / "two"))
    assert MetadataCatalog.get("letters").json_file == str(data_root / "two" / "annotations.json")
    assert catalog.text_classes("letters") is None


@pytest.mark.parametrize(
    ("name", "texts", "message"),
    [
        ("pages_train", None, "built-in"),
        ("a/b", None, "is no name"),
        ("letters", ["prose"], "'prose' is not in .* text, figure"),
    ],
)
def test_own_data_is_refused_with_a_reason(data_root, name, texts, message):
    with pytest.raises(UserError, match=message):
        catalog.add_own(name, *write_set(data_root / "letters"), text_classes=texts)
    assert not (data_root / "registered.yaml").exists()


@pytest.mark.parametrize("text", ["[1, 2", "- letters", "letters: 3", "letters: {json: a}"])
def test_a_damaged_registered_yaml_is_named(data_root, text):
    data_root.mkdir()
    (data_root / "registered.yaml").write_text(text)
    with pytest.raises(UserError, match=r"registered\.yaml: not readable"):
        catalog.register_all()
    with pytest.raises(UserError, match=r"registered\.yaml: not readable"):
        catalog.add_own("letters", *write_set(data_root / "letters"))
    assert (data_root / "registered.yaml").read_text() == text


def test_detectron2s_own_registration_works(data_root):
    json_file, images = write_set(data_root / "plain")
    register_coco_instances("plain_set", {}, str(json_file), str(images))
    assert catalog.dataset_classes(["plain_set"]) == ("text", "figure")
    assert catalog.text_classes("plain_set") is None
    assert catalog.locate("plain_set")[0] == json_file


def test_a_users_own_loader_stays_his(data_root):
    dirty = document()
    dirty["annotations"][0]["bbox"] = [50, 1, 20, 9]  # over the edge
    json_file, images = write_set(data_root / "plain", dirty)
    register_coco_instances("his", {"text_classes": ["text"]}, str(json_file), str(images))
    loader = DatasetCatalog["his"]
    assert catalog.classes_of("his") == ("text", "figure")
    assert catalog.text_classes("his") == ("text",)
    pages = catalog.training_dicts(["his"], filter_empty=True)
    catalog.check_scorable(["his"])
    assert DatasetCatalog["his"] is loader
    assert [a["bbox"] for page in pages for a in page["annotations"]][0] == [50, 1, 20, 9]
    assert MetadataCatalog.get("his").json_file == str(json_file)
    assert catalog.source_json("his") == json_file
    assert catalog.published("his") == dirty


@pytest.mark.parametrize("box", [[1.0, 1.0, float("nan"), 9.0], [1, 2, 3], "1234x"])
def test_a_box_that_cannot_be_trained_on_is_refused_in_a_users_own_loader(data_root, box):
    dirty = document()
    dirty["annotations"][1]["bbox"] = box
    json_file, images = write_set(data_root / "plain", dirty)
    register_coco_instances("his", {}, str(json_file), str(images))
    with pytest.raises(UserError, match="his: .*a.jpg has the box.*data check his --fix OUT"):
        catalog.training_dicts(["his"], filter_empty=False)
    DatasetCatalog.register("function", lambda: [{"file_name": "x", "annotations": [{}]}])
    with pytest.raises(UserError, match="function: x has the box None.*correct its loader"):
        catalog.training_dicts(["function"], filter_empty=False)


@pytest.mark.parametrize("key", ["width", "file_name"])
def test_a_json_that_detectron2s_loader_fails_on_is_one_line(data_root, key):
    content = document()
    del content["images"][0][key]
    json_file, images = write_set(data_root / "plain", content)
    register_coco_instances("his", {}, str(json_file), str(images))
    with pytest.raises(UserError, match="his.*KeyError: .*data check his --fix OUT"):
        catalog.training_dicts(["his"], filter_empty=False)
    with pytest.raises(UserError, match="data check his --fix OUT"):
        catalog.check_scorable(["his"])


def test_training_gets_cleaned_pages_and_scoring_the_published_ones(data_root):
    broken = document()
    broken["annotations"][0]["bbox"] = [50, 6, 20, 30]  # reaches over the right edge
    broken["annotations"][2]["bbox"] = [5, 5, 0, 10]  # no area
    json_file, images = write_set(data_root / "letters", broken)
    catalog.add_own("letters", json_file, images)
    pages = catalog.training_dicts(["letters"], filter_empty=False)
    boxes = [a["bbox"] for page in pages for a in page["annotations"]]
    assert boxes == [[50, 6, 10, 30], [30, 40, 25, 35]]
    assert len(catalog.training_dicts(["letters"], filter_empty=True)) == 1
    pages = DatasetCatalog.get("letters")
    boxes = [a["bbox"] for page in pages for a in page["annotations"]]
    assert boxes == [a["bbox"] for a in broken["annotations"]]
    assert catalog.published("letters") == broken
    assert MetadataCatalog.get("letters").json_file == str(json_file)


def test_training_on_several_sets_takes_them_in_order(data_root):
    for name in ("one", "two"):
        catalog.add_own(name, *write_set(data_root / name))
    pages = catalog.training_dicts(["two", "one"], filter_empty=True)
    assert ["two" in page["file_name"] for page in pages] == [True, True, False, False]


def test_a_set_that_is_entered_in_both_ways_stays_usable(data_root):
    dirty = document()
    dirty["annotations"][0]["bbox"] = [1.0, 1.0, float("nan"), 9.0]
    json_file, images = write_set(data_root / "both", dirty)
    catalog.add_own("both", json_file, images)
    catalog.unregister_all()
    register_coco_instances("both", {}, str(json_file), str(images))
    catalog.register_all()
    assert catalog.classes_of("both") == ("text", "figure")
    DatasetCatalog.get("both")
    catalog.register_all()


def test_an_unusable_json_of_detectron2s_own_registration_is_one_line(data_root):
    (data_root / "broken.json").parent.mkdir(parents=True, exist_ok=True)
    (data_root / "broken.json").write_text('{"images": [')
    register_coco_instances("broken_set", {}, str(data_root / "broken.json"), str(data_root))
    with pytest.raises(UserError, match="broken.json"):
        catalog.classes_of("broken_set")
    register_coco_instances("absent_set", {}, str(data_root / "absent.json"), str(data_root))
    with pytest.raises(UserError, match="absent.json"):
        catalog.classes_of("absent_set")


def test_data_of_the_users_own_function_is_left_alone(data_root):
    DatasetCatalog.register("own_function", lambda: [])
    MetadataCatalog.get("own_function").set(thing_classes=["a"])
    assert catalog.classes_of("own_function") == ("a",) and DatasetCatalog.get("own_function") == []


def test_unknown_names_offer_close_ones(data_root):
    with pytest.raises(UserError, match="did you mean pages_train.*data register"):
        catalog.dataset_classes(["pages_trian"])
    with pytest.raises(UserError, match="unknown data set 'zzz'"):
        catalog.text_classes("zzz")


def test_class_lists_that_differ_are_refused(data_root):
    with pytest.raises(UserError, match="publaynet_val has the classes text.*doclaynet_val has"):
        catalog.dataset_classes(["publaynet_val", "doclaynet_val"])
    turned = document(categories=[{"id": 2, "name": "text"}, {"id": 1, "name": "figure"}])
    catalog.add_own("one", *write_set(data_root / "one"))
    catalog.add_own("two", *write_set(data_root / "two", turned))
    with pytest.raises(UserError, match="the same list in one order"):
        catalog.dataset_classes(["one", "two"])
    with pytest.raises(UserError, match="DATASETS.TRAIN"):
        catalog.dataset_classes([])
    with pytest.raises(TypeError):
        catalog.dataset_classes("publaynet_val")


def test_a_missing_set_says_what_to_do(data_root):
    catalog.register_all()
    with pytest.raises(
        UserError, match=r"prima_train is missing.*prima/train\.json.*convert prima"
    ):
        DatasetCatalog.get("prima_train")


def test_changed_class_ids_are_noticed(data_root):
    json_file, images = write_set(data_root / "letters")
    catalog.add_own("letters", json_file, images)
    swapped = document(categories=[{"id": 2, "name": "text"}, {"id": 1, "name": "figure"}])
    json_file.write_text(json.dumps(swapped))
    with pytest.raises(UserError, match="class ids .* differ from the registered ones"):
        DatasetCatalog.get("letters")
    with pytest.raises(UserError, match="class ids .* differ from the registered ones"):
        catalog.training_dicts(["letters"], filter_empty=False)


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
