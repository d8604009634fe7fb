"""`graphkd predict` end to end: files, names, exit codes, interruption, earlier results."""

import json

import numpy as np
import pytest
from PIL import Image

import graphkd.predict.sources
from graphkd.cli import main
from graphkd.errors import COMMAND
from graphkd.io import held
from tests.predict.files import noise, pdf, picture


@pytest.fixture
def predict(onnx_file, tmp_path):
    """Runs the command with the tiny ONNX file and OUT = tmp_path / "out"; gives the exit code."""

    def call(*words, out=tmp_path / "out"):
        return main(["predict", str(onnx_file), *map(str, words), "-o", str(out)])

    return call


def load(path):
    return json.loads(path.read_text())


def test_every_form_of_result(predict, tmp_path, capsys):
    picture(tmp_path / "a" / "page.png", red=255)
    picture(tmp_path / "b" / "page.png", red=0)
    book = pdf(tmp_path / "book.pdf", pages=3, size=(144, 72))
    inputs = [tmp_path / "a", tmp_path / "b", book]
    options = ["--draw", "--format", "json,coco,page", "--score", "0.2", "--dpi", "72"]
    assert predict(*inputs, *options) == 0
    out = tmp_path / "out"
    assert capsys.readouterr().out == f"5 pages, 3 regions: {out}\n"
    names = ["book_p0001", "book_p0002", "book_p0003", "page", "page~2"]
    for folder, ending in (("pages", "json"), ("page_xml", "xml"), ("pictures", "jpg")):
        assert sorted(path.name for path in (out / folder).iterdir()) == [
            f"{name}.{ending}" for name in names
        ]
    first = load(out / "pages" / "page.json")
    assert first["source"] == str(tmp_path / "a" / "page.png")
    assert first["regions"] == [
        {
            "class": "text",
            "score": 1.0,
            "box": [1, 2, 30, 40],
            "box_fraction": [0.016667, 0.025, 0.5, 0.5],
        }
    ]
    assert load(out / "pages" / "page~2.json")["regions"] == []
    assert [image["name"] for image in load(out / "coco.json")["images"]] == [
        "page",
        "page~2",
        *names[:3],
    ]
    record = load(out / "predict.json")
    assert record["finished"] and (record["pages"], record["regions"]) == (5, 3)
    assert record["weights"] == "tiny.onnx" and record["thresholds"]["figure"] == 0.2
    assert not (out / "failed.json").exists()


def test_drawn_boxes_lie_where_they_were_found(predict, tmp_path):
    assert predict(picture(tmp_path / "a.png", red=255), "--draw") == 0
    drawn = np.asarray(Image.open(tmp_path / "out" / "pictures" / "a.jpg")).astype(int)
    assert drawn.shape == (80, 60, 3)
    assert drawn[30, 30, 0] < 80 and drawn[70, 50, 0] > 200  # blue frame, red page


def test_formats_can_be_left_out(predict, tmp_path):
    assert predict(picture(tmp_path / "a.png"), "--format", "page") == 0
    found = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert found == ["page_xml", "predict.json", "written.txt"]


def test_a_damaged_page_does_not_stop_the_others(predict, tmp_path, capsys):
    folder = tmp_path / "in"
    picture(folder / "1.png")
    (folder / "2.png").write_text("words")
    pdf(folder / "3.pdf", password="secret")
    picture(folder / "4.png")
    assert predict(folder) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"not read: {folder / '2.png'}: not an image that can be read"
    locked = f"{folder / '3.pdf'}: it is encrypted and needs a password (--password-file)"
    assert lines[1] == f"not read: {locked}"
    assert lines[2].startswith("2 not read: see ") and len(lines) == 3
    failed = load(tmp_path / "out" / "failed.json")
    assert failed[0] == {
        "source": str(folder / "2.png"),
        "page": None,
        "reason": "not an image that can be read",
    }
    assert len(failed) == 2
    assert len(list((tmp_path / "out" / "pages").iterdir())) == 2
    assert load(tmp_path / "out" / "predict.json")["failed"] == 2


def test_nothing_but_damaged_pages(predict, tmp_path):
    (tmp_path / "a.png").write_text("words")
    assert predict(tmp_path / "a.png") == 1
    assert load(tmp_path / "out" / "coco.json")["images"] == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["gone.png"], "gone.png: no such file or folder"),
        (["{page}", "--score", "2"], "a score is a number in 0..1"),
        (["{page}", "--score-class", "titel=0.3"], "no class named 'titel'; the model knows"),
        (["{page}", "--pages", "x"], "--pages 'x'"),
        (["{page}", "--format", "json,xml"], "--format 'xml': choose from json, coco, page"),
        (["{page}", "--batch", "0"], "--batch is at least 1"),
        (["{page}", "--dpi", "0"], "--dpi is at least 1"),
        (["{page}", "--weights", "m.pth"], "two weights files are named"),
        ([], "name at least one picture"),
    ],
)
def test_a_users_mistake_is_one_line_and_leaves_no_folder(
    predict, tmp_path, capsys, words, message
):
    page = picture(tmp_path / "a.png")
    assert predict(*[word.format(page=page) for word in words]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"{COMMAND} predict: ") and error.count("\n") == 1
    assert message in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "words",
    [
        "MODEL a.png --dpi 100 b.png -o out -- -c.png",
        "MODEL --score 0.5 a.png -o out b.png --draw -- -c.png",
        "--weights MODEL -o out --draw a.png b.png ./-c.png",
        "-o out --weights MODEL a.png --score-class text=0.5 b.png --batch 2 ./-c.png",
    ],
)
def test_options_may_stand_between_inputs(onnx_file, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "-c"):
        picture(tmp_path / f"{name}.png")
    assert main(["predict", *words.replace("MODEL", str(onnx_file)).split()]) == 0
    assert sorted(path.stem for path in (tmp_path / "out" / "pages").iterdir()) == ["a", "b", "c"]


def test_an_unknown_option_is_still_refused(onnx_file, capsys):
    with pytest.raises(SystemExit):
        main(["predict", str(onnx_file), "a.png", "-o", "x", "b.png", "--dp1", "100"])
    assert "unrecognized arguments: --dp1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("book.pdf -o out --pages 9-", "--pages: book.pdf: it has 3 pages, none of 9-"),
        ("book.pdf b.pdf -o out --pages 4", "book.pdf: it has 3 pages, none of 4 (the same for 1"),
        ("scan.tif -o out --pages 2", "--pages: scan.tif: it has 1 page, none of 2"),
        ("book.pdf -o book.pdf", "book.pdf: it is a file"),
        ("book.pdf -o book.pdf/x/y", "book.pdf/x/y: it cannot be made, since"),
        ("book.pdf -o out --password-file gone.txt", "gone.txt: No such file or directory"),
        ("book.pdf -o out --password-file empty.txt", "empty.txt: its first line is empty"),
        ("book.pdf -o out --weights gone.pth", "gone.pth: no such weights file"),
        ("book.pdf -o out --weights m.pth --config gone.yaml", "gone.yaml: no such config"),
    ],
)
def test_quick_checks_come_before_the_model(tmp_path, monkeypatch, capsys, words, message):
    def load_model(*_, **__):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("graphkd.predict.model.load_model", load_model)
    monkeypatch.chdir(tmp_path)
    for name in ("book", "b"):
        pdf(tmp_path / f"{name}.pdf")
    picture(tmp_path / "scan.tif")
    (tmp_path / "m.pth").touch()
    (tmp_path / "empty.txt").write_text("\nsecret\n")
    assert main(["predict", *words.split()]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and "[Errno" not in error
    assert not (tmp_path / "out").exists()


def test_a_document_with_some_of_the_pages_goes_on(predict, tmp_path):
    files = [pdf(tmp_path / "long.pdf", pages=4), pdf(tmp_path / "short.pdf", pages=2)]
    assert predict(*files, "--pages", "3-") == 1
    (failure,) = load(tmp_path / "out" / "failed.json")
    assert failure["reason"] == "it has 2 pages, none of 3-"


def test_passwords_come_from_a_file(predict, tmp_path, capsys):
    locked = pdf(tmp_path / "a.pdf", password="se cret", pages=2)
    (tmp_path / "right.txt").write_text("se cret\nanything\n")
    (tmp_path / "wrong.txt").write_text("no\n")
    assert predict(locked, "--password-file", tmp_path / "right.txt") == 0
    assert load(tmp_path / "out" / "predict.json")["pages"] == 2
    assert predict(locked, "--password-file", tmp_path / "wrong.txt", "--overwrite") == 1
    assert "a.pdf: it is encrypted, and the password is wrong" in capsys.readouterr().err
    assert "se cret" not in "".join(p.read_text() for p in (tmp_path / "out").glob("*.*"))


def test_passwords_are_asked_for_at_a_terminal(predict, tmp_path, monkeypatch):
    files = [pdf(tmp_path / "a.pdf", password="one"), pdf(tmp_path / "b.pdf", password="two")]
    asked = []
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr(
        "getpass.getpass", lambda text: asked.append(text) or ("one" if "a.pdf" in text else "")
    )
    assert predict(*files) == 1
    assert asked == [f"password of {file}: " for file in files]
    (failure,) = load(tmp_path / "out" / "failed.json")
    assert failure["reason"] == "it is encrypted and needs a password (--password-file)"


def test_weights_as_an_option(onnx_file, tmp_path):
    page, out = picture(tmp_path / "a.png"), tmp_path / "out"
    assert main(["predict", "--weights", str(onnx_file), str(page), "-o", str(out)]) == 0
    assert load(out / "predict.json")["pages"] == 1


def test_other_files_are_never_touched(predict, tmp_path, capsys):
    page, out = picture(tmp_path / "a.png"), tmp_path / "out"
    out.mkdir()
    (out / "coco.json").write_text("precious")
    for words in ([page], [page, "--overwrite"]):
        assert predict(*words) == 2
        assert "holds no earlier results" in capsys.readouterr().err
    assert (out / "coco.json").read_text() == "precious"


def test_earlier_results_go_only_when_told(predict, tmp_path, capsys):
    out = tmp_path / "out"
    (tmp_path / "bad.png").write_text("words")
    assert predict(picture(tmp_path / "a.png"), tmp_path / "bad.png", "--draw") == 1
    (out / "mine.txt").write_text("precious")
    (out / "pages" / "mine.txt").write_text("precious")
    other = picture(tmp_path / "b.png")
    assert predict(other) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert predict(tmp_path / "gone.png", "--overwrite") == 2  # a mistake removes nothing
    assert (out / "pages" / "a.json").exists()
    assert predict(other, "--overwrite") == 0
    left = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    assert left == [
        "coco.json",
        "coco_results.json",
        "mine.txt",
        "pages/b.json",
        "pages/mine.txt",
        "predict.json",
        "written.txt",
    ]


def test_files_of_others_beside_the_results_stay(predict, tmp_path):
    """Also where they have the kind and the place of results."""
    out = tmp_path / "out"
    assert predict(picture(tmp_path / "a.png"), "--draw") == 0
    mine, holiday = out / "pages" / "mine.json", picture(out / "pictures" / "holiday.jpg")
    mine.write_text("{}")
    assert predict(holiday, "--overwrite") == 0
    assert mine.is_file() and holiday.is_file() and (out / "pages" / "holiday.json").is_file()
    assert not (out / "pages" / "a.json").exists() and not (out / "pictures" / "a.jpg").exists()


def test_an_input_that_overwriting_would_remove_is_refused(predict, tmp_path, capsys):
    out = tmp_path / "out"
    assert predict(picture(tmp_path / "a.png"), "--draw") == 0
    drawn = out / "pictures" / "a.jpg"
    assert predict(drawn, "--overwrite") == 2
    assert "a.jpg: it is a result of the earlier run" in capsys.readouterr().err
    assert drawn.is_file() and (out / "pages" / "a.json").is_file()


def test_results_that_nothing_lists_are_left_alone(predict, tmp_path, capsys):
    out = tmp_path / "out"
    assert predict(picture(tmp_path / "a.png")) == 0
    (out / "written.txt").unlink()
    assert predict(picture(tmp_path / "b.png"), "--overwrite") == 2
    assert "there is no written.txt" in capsys.readouterr().err
    odd = ["../a.json", "/etc/a.json", "pages/../../a.json", "pages/no\0name.json", "pages", ""]
    (out / "written.txt").write_bytes("\n".join(odd).encode() + b"\xff\n")
    (tmp_path / "a.json").write_text("{}")
    assert predict(picture(tmp_path / "b.png"), "--overwrite") == 0
    assert (tmp_path / "a.json").is_file() and (out / "pages" / "a.json").is_file()


def test_forms_that_were_not_asked_for_are_the_users(predict, tmp_path):
    out = tmp_path / "out"
    assert predict(picture(tmp_path / "a.png"), "--format", "json") == 0
    own = [out / "page_xml" / "a.xml", out / "coco.json"]
    for path in own:
        path.parent.mkdir(exist_ok=True)
        path.write_text("corrected by hand")
    assert predict(picture(tmp_path / "b.png"), "--format", "json", "--overwrite") == 0
    assert all(path.read_text() == "corrected by hand" for path in own)
    assert [path.name for path in (out / "pages").iterdir()] == ["b.json"]


def test_a_run_that_wrote_nothing_is_no_obstacle(predict, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "written.txt").write_text("predict.json\n")
    assert predict(picture(tmp_path / "a.png")) == 0


def test_a_folder_in_use_is_left_alone(predict, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("graphkd.io._PATIENCE", 0.2)
    out = tmp_path / "out"
    with held(out):
        assert predict(picture(tmp_path / "a.png")) == 2
        assert "another process works there" in capsys.readouterr().err
        assert not out.exists()
    assert predict(tmp_path / "a.png") == 0


def test_results_survive_an_interruption(predict, tmp_path, monkeypatch, capsys):
    pages = [picture(tmp_path / "in" / f"{n}.png") for n in range(5)]
    read = graphkd.predict.sources.read_file

    def interrupted(path, **options):
        if path == pages[3]:
            raise KeyboardInterrupt
        return read(path, **options)

    monkeypatch.setattr(graphkd.predict.sources, "read_file", interrupted)
    assert predict(tmp_path / "in") == 130
    out = tmp_path / "out"
    assert sorted(path.name for path in (out / "pages").iterdir()) == ["0.json", "1.json", "2.json"]
    assert len(load(out / "coco.json")["images"]) == 3
    record = load(out / "predict.json")
    assert record["pages"] == 3 and record["finished"] is False


@pytest.mark.parametrize("words", [[], ["--draw"], ["--format", "coco", "--draw"]])
def test_a_full_disk_is_one_line_and_the_results_so_far_are_whole(
    predict, small_disk, tmp_path, capsys, words
):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "0.png").write_text("words")
    names = [f"{n:03}" for n in range(1, 400)]
    first = noise(tmp_path / "in" / "001.png")
    for name in names[1:]:
        first.with_stem(name).hardlink_to(first)
    out = small_disk / "out"
    capsys.readouterr()
    assert predict(tmp_path / "in", "--score", "0", *words, out=out) == 2
    unread, said = capsys.readouterr().err.splitlines()
    assert unread.startswith("not read: ")
    record = load(out / "predict.json")
    assert said == (
        f"{COMMAND} predict: {out}: nothing more can be written there (No space left on device); "
        f"{record['pages']} pages are complete; free disk space, then start again with --overwrite"
    )
    assert 3 < record["pages"] < 399 and record["failed"] == 1 and not record["finished"]
    assert len(load(out / "failed.json")) == 1
    coco = load(out / "coco.json")
    assert len(coco["images"]) == len(coco["annotations"]) == record["pages"]
    assert len(load(out / "coco_results.json")) == record["pages"]
    for name in names[: record["pages"]] if not words else []:
        assert len(load(out / "pages" / f"{name}.json")["regions"]) == 1
    assert not [path for path in out.rglob(".*")]


def test_a_disk_that_is_full_from_the_start_is_one_line(predict, small_disk, tmp_path, capsys):
    with open(small_disk / "filler", "wb", buffering=0) as file, pytest.raises(OSError):
        while True:
            file.write(bytes(4096))
    page, out = picture(tmp_path / "a.png"), small_disk / "out"
    assert predict(page, out=out) == 2
    assert f"{out}: nothing more can be written there" in capsys.readouterr().err
    (small_disk / "filler").unlink()
    assert predict(page, out=out) == 0


def test_the_output_inside_the_input_is_not_read(predict, tmp_path):
    picture(tmp_path / "in" / "a.png")
    out = tmp_path / "in" / "out"
    for again in ([], ["--overwrite"]):
        assert predict(tmp_path / "in", "--recursive", "--draw", *again, out=out) == 0
        assert load(out / "predict.json")["pages"] == 1


def test_a_threshold_below_the_models_own_is_noted(predict, tmp_path, capsys):
    assert predict(picture(tmp_path / "a.png"), "--score", "0.01") == 0
    assert "no score below 0.05" in capsys.readouterr().err


def test_without_weights_the_shipped_detector_works(onnx_file, tmp_path, monkeypatch):
    import graphkd.shipped

    monkeypatch.setattr(graphkd.shipped, "default_weights", lambda kind, name: onnx_file)
    page, out = picture(tmp_path / "a.png"), tmp_path / "out"
    assert main(["predict", str(page), "-o", str(out)]) == 0
    assert load(out / "predict.json")["weights"] == "tiny.onnx"
