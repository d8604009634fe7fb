"""`graphkd data` as a user types it: exit codes, lines and files."""

import json

import pytest
from detectron2.data import DatasetCatalog

from graphkd.cli import main
from graphkd.data import catalog
from graphkd.errors import UserError
from tests.data.sets import document, page, write_set
from tests.data.test_convert import ALTO, put


@pytest.fixture(autouse=True)
def data_root(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "datasets"))
    monkeypatch.setenv("COLUMNS", "200")
    catalog.unregister_all()
    yield tmp_path / "datasets"
    catalog.unregister_all()


def broken():
    content = document()
    content["annotations"][1]["bbox"] = [1, 2, 0, 4]
    return content


def test_checking_a_clean_file(tmp_path, capsys):
    json_file, _ = write_set(tmp_path)
    assert main(["data", "check", str(json_file)]) == 0
    assert "2 of 2 pages and 3 of 3 boxes are usable; clean" in capsys.readouterr().out


def test_checking_and_repairing_a_damaged_file(tmp_path, capsys):
    json_file, images = write_set(tmp_path / "in", broken())
    report, out = tmp_path / "report.json", tmp_path / "out"
    words = ["data", "check", str(json_file), "--images", str(images), "--json", str(report)]
    assert main([*words, "--fix", str(out)]) == 1
    said = capsys.readouterr().out
    assert "a.jpg, annotation 2" in said and "it checks clean" in said
    assert json.loads(report.read_text())["counts"] == {"box_degenerate": 1}
    assert main(["data", "check", str(out / "annotations.json")]) == 0
    assert main([*words, "--fix", str(out)]) == 2
    assert "already there" in capsys.readouterr().err


def test_a_file_that_is_no_json_is_a_finding(tmp_path, capsys):
    (tmp_path / "x.json").write_text("{")
    assert main(["data", "check", str(tmp_path / "x.json")]) == 1
    assert "line 1, column 2" in capsys.readouterr().out


@pytest.mark.parametrize("target", ["no.json", "nobody", "publaynet_train"])
def test_what_is_not_there_is_the_users_mistake(target, capsys):
    assert main(["data", "check", target]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_a_known_set_with_other_class_ids_is_refused_as_in_training(data_root, capsys):
    names = ("text", "title", "list", "table", "figure")
    content = document(categories=[{"id": i, "name": n} for i, n in enumerate(names)])
    json_file, images = write_set(data_root / "publaynet", content)
    json_file.rename(data_root / "publaynet/train.json")
    images.rename(data_root / "publaynet/train")
    assert main(["data", "check", "publaynet_train"]) == 1
    assert "wrong_classes: the class ids are {0: 'text'" in capsys.readouterr().out
    with pytest.raises(UserError, match="class ids"):
        DatasetCatalog.get("publaynet_train")


def test_following_the_advice_makes_segmonto(tmp_path, data_root):
    for volume in ("one", "two", "three"):
        put(tmp_path / "in" / volume / "p1.xml", ALTO)
        page(tmp_path / "in" / volume / "p1.jpg", width=120, height=160)
    catalog.register_all()
    advice = catalog.entry_of("segmonto_test").how
    words = advice.split("`")[1].replace("FOLDER", str(tmp_path / "in")).split()[1:]
    words[words.index("--out") + 1] = str(data_root / "segmonto")
    main(words)
    for split in ("train", "val", "test"):
        assert len(DatasetCatalog.get(f"segmonto_{split}")) == 1


def test_boxes_as_corners_have_to_be_said(tmp_path, capsys):
    content = document()
    corners = ([25, 6, 45, 36], [30, 40, 55, 75], [10, 40, 59, 79])
    for annotation, box in zip(content["annotations"], corners, strict=True):
        annotation["bbox"] = box
    json_file, _ = write_set(tmp_path / "in", content)
    words = ["data", "check", str(json_file), "--fix", str(tmp_path / "out")]
    assert main(words) == 2
    assert "--boxes corners" in capsys.readouterr().err
    assert main([*words, "--boxes", "corners"]) == 0
    written = json.loads((tmp_path / "out/annotations.json").read_text())
    assert written["annotations"][2]["bbox"] == [10, 40, 49, 39]


def test_registering_and_listing(tmp_path, data_root, capsys):
    json_file, images = write_set(data_root / "mine")
    words = ["data", "register", "letters", "--json", str(json_file), "--images", str(images)]
    assert main([*words, "--text-classes", "text", "--val-json", str(json_file)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == [f"reading {json_file} ..."] * 2 and said[2].startswith("loading Detectron2")
    assert (data_root / "registered.yaml").is_file()
    assert main(["data", "check", "letters_val"]) == 0
    capsys.readouterr()
    report = tmp_path / "list.json"
    assert main(["data", "list", "--json", str(report)]) == 0
    (mine,) = [row for row in json.loads(report.read_text()) if row["name"] == "letters_val"]
    assert mine["data"] == "found" and mine["pages"] == 2
    assert (mine["classes"], mine["text_classes"]) == (["text", "figure"], ["text"])
    said = capsys.readouterr().out
    (row,) = [line for line in said.splitlines() if "letters_val" in line]
    assert "found" in row and " 2 " in row
    assert "2: text*, figure" in said and "made on first use" in said and "missing" in said
    assert main([*words, "--text-classes", "prose"]) == 2


def test_converting(tmp_path, capsys):
    json_file, images = write_set(tmp_path / "in", document())
    content = json.loads(json_file.read_text())
    names = ("text", "title", "list", "table", "figure")
    content["categories"] = [{"id": i + 1, "name": n} for i, n in enumerate(names)]
    json_file.write_text(json.dumps(content))
    words = ["data", "convert", "publaynet", str(json_file), "--out", str(tmp_path / "out")]
    assert main(words) == 0
    assert "annotations: 2 pages, 3 boxes" in capsys.readouterr().out
    assert main(words) == 2
    assert main([*words, "--split", "80,20"]) == 2
    assert "leave the option out" in capsys.readouterr().err


def test_help_needs_no_heavy_package(capsys):
    for words in (["data"], ["data", "check"], ["data", "convert"]):
        with pytest.raises(SystemExit) as stop:
            main([*words, "--help"])
        assert stop.value.code == 0
    assert "alto" in capsys.readouterr().out
