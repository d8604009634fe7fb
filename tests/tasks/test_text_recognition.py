"""The task text_recognition: training, resuming, scores, charsets, through the commands."""

import json

import pytest
import torch

from graphkd.cli import main
from graphkd.config import load_cfg
from graphkd.data import crops
from graphkd.engine import run
from graphkd.engine.build import build_student
from graphkd.engine.jobs import load_run, train_teacher
from graphkd.errors import UserError
from graphkd.modelfile import build_detector, read_model
from graphkd.synthesis.texts import LATIN
from graphkd.tasks.base import task_of
from graphkd.tasks.text_recognition import TASK, carried, data_charset
from graphkd.text.charset import Charset, write_charset
from tests.crops_data import write_reader_pair
from tests.reader import TEXTS, line_batch, reader_cfg

LOSSES = "{pkd: {MAPS: neck}, fitnets: {TAP: neck}, ctc_mean: {}}"


@pytest.fixture(scope="module")
def reader_pair(crops_data, tmp_path_factory):
    return write_reader_pair(tmp_path_factory.mktemp("reader"), crops_data, losses=LOSSES)


@pytest.fixture(scope="module")
def trained(reader_pair):
    cfg, source = load_run(str(reader_pair), [])
    train_teacher(cfg, source=source)
    return run.train(cfg, source=source)


def load(path):
    return torch.load(path, map_location="cpu", weights_only=True)


def test_a_run_leaves_a_plain_reader_with_its_charset(trained, reader_pair):
    stored = load(trained.weights)
    characters = sorted(set("".join(TEXTS)))
    assert stored["classes"] == characters and stored["task"] == "text_recognition"
    cfg, _ = load_run(str(reader_pair), [])
    assert cfg.MODEL.READER.CHARACTERS == characters
    assert set(stored["model"]) == set(TASK.build_model(cfg).state_dict())
    assert stored["distill"]
    assert set(trained.scores) >= {"exact", "CER", "WER", "NED", "exact_no_spaces", "items"}
    folder = reader_pair.parent / "run" / "eval"
    rows = json.loads(next(folder.rglob("items.json")).read_text())
    assert [row["truth"] for row in rows] == list(TEXTS)
    assert {row["document"] for row in rows} == {"doc0", "doc1"}
    lines = (reader_pair.parent / "run" / "metrics.json").read_text().splitlines()
    logged = {key for line in lines for key in json.loads(line)}
    terms = {"pkd_features", "fitnets_features", "ctc_mean_frames"}
    assert {"loss_ctc", *(f"loss_kd_{term}" for term in terms)} <= logged


def test_a_model_file_reads_without_data_or_config(trained, tmp_path):
    path = tmp_path / "reader.pth"
    path.write_bytes(trained.weights.read_bytes())
    stored = read_model(path)
    model = build_detector(stored)
    assert model.charset.names == stored.classes
    assert all(set(said) == {"text", "score"} for said in model(line_batch()))


def test_an_interrupted_run_ends_with_the_same_weights(trained, reader_pair, tmp_path):
    class Killed(Exception):
        pass

    def die(self):
        if self.trainer.iter == 4:
            raise Killed

    def train(resume):
        cfg, source = load_run(str(reader_pair), ["OUTPUT_DIR", str(tmp_path)])
        return run.train(cfg, source=source, resume=resume)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(run.ProgressBar, "before_step", die, raising=False)
        train(False)
    result = train(True)
    expected, found = load(trained.weights)["model"], load(result.weights)["model"]
    assert all(torch.equal(value, found[key]) for key, value in expected.items())


def test_plain_and_distilled_runs_see_the_same_lines(trained, reader_pair, tmp_path):
    seen = {}
    for name, plain in (("plain", True), ("distilled", False)):
        place = ["OUTPUT_DIR", str(tmp_path / name)]
        cfg, source = load_run(str(reader_pair), place, plain=plain)
        rows = seen[name] = []
        with pytest.MonkeyPatch.context() as patch:
            step = run.Trainer.run_step

            def run_step(self, rows=rows, step=step):
                stream = self._stream
                batch = next(stream)
                rows.append([(item["file_name"], item["image"].sum().item()) for item in batch])
                self._stream = iter([batch])
                step(self)
                self._stream = stream

            patch.setattr(run.Trainer, "run_step", run_step)
            run.train(cfg, source=source)
    assert seen["plain"] == seen["distilled"] and len(seen["plain"]) == 6
    assert len({name for batch in seen["plain"] for name, _ in batch}) > 8


@pytest.mark.parametrize("kind", ["rare", "star"])
def test_train_and_eval_commands_agree(crops_data, tmp_path, capsys, kind):
    path = write_reader_pair(tmp_path, crops_data, kind=kind)
    assert main(["train", str(path)]) == 0
    scores = json.loads((tmp_path / "run" / "result.json").read_text())["scores"]
    assert scores["exact"] is not None and scores["items"] == 8
    capsys.readouterr()
    assert main(["eval", str(path), "--json", str(tmp_path / "said.json")]) == 0
    assert "(8 lines)" in capsys.readouterr().out
    said = json.loads((tmp_path / "said.json").read_text())
    assert {**said, "seconds": 0} == {**scores, "seconds": 0}


class Knowing(torch.nn.Module):
    """Reads every line right, but for an extra space and a capital."""

    def __init__(self):
        super().__init__()
        self.place = torch.nn.Parameter(torch.zeros(1))

    def forward(self, batch):
        assert len({item["image"].shape[-1] for item in batch}) == 1
        texts = [item["text"] for item in batch]
        changed = {"two": "t wo", "seven": "Seven"}
        return [{"text": changed.get(text, text), "score": 0.5} for text in texts]


def test_scores_are_those_of_the_texts(crops_data, reader_pair, tmp_path):
    cfg = load_cfg(reader_pair)
    scores = TASK.evaluate(cfg, Knowing(), crops_data["test"], calibration={}, output_dir=tmp_path)
    assert scores["exact"] == 75 and scores["exact_no_spaces"] == scores["exact_folded"] == 87.5
    assert scores["CER"] == pytest.approx(100 * 2 / len("".join(TEXTS)))
    assert TASK.primary_metric.higher_is_better and not TASK.columns[1].higher_is_better
    assert json.loads((tmp_path / "items.json").read_text())[1]["text"] == "t wo"


def check_made(entry):
    assert entry.source is None


def test_the_charset_is_a_file_or_that_of_the_data(crops_data, reader_pair, tmp_path, monkeypatch):
    write_charset(tmp_path / "chars.txt", Charset(tuple("zyx ")))
    cfg = load_cfg(reader_pair, ["MODEL.READER.CHARSET", str(tmp_path / "chars.txt")])
    assert cfg.MODEL.READER.CHARACTERS == list("zyx ") and cfg.MODEL.READER.CHARSET == ""
    assert TASK.classes(cfg, source=reader_pair) == ("z", "y", "x", " ")
    twice = ["MODEL.READER.COMPAT.DUPLICATE_SPACE", "True"]
    cfg = load_cfg(reader_pair, ["MODEL.READER.CHARSET", str(tmp_path / "chars.txt"), *twice])
    model = TASK.build_model(cfg)
    assert TASK.class_count(cfg) == 5 and model.charset.size == 6
    assert model.charset.decode([5]) == " "
    cfg = load_cfg(reader_pair)
    assert data_charset(cfg).names == tuple(cfg.MODEL.READER.CHARACTERS)
    assert task_of(cfg) is TASK
    both = str(("lines_train", crops_data["train"]))
    monkeypatch.setattr(crops, "require_data", check_made)
    cfg = load_cfg(reader_pair, ["DATASETS.TRAIN", both])
    assert cfg.MODEL.READER.CHARACTERS == list(LATIN)  # known without making the lines


def test_sets_of_pages_and_missing_charsets_are_refused(reader_pair, lines_data):
    cfg = load_cfg(reader_pair, ["DATASETS.TRAIN", str((lines_data["train"],))])
    with pytest.raises(UserError, match="no pictures of lines"):
        TASK.classes(cfg, source=reader_pair)
    cfg = load_cfg(reader_pair, ["DATASETS.TRAIN", "()"])
    with pytest.raises(UserError, match=r"DATASETS\.TRAIN"):
        TASK.classes(cfg, source=reader_pair)


def weights_of(tmp_path, kind, characters):
    cfg = reader_cfg(kind, "MODEL.READER.WIDTH", "0.5", "MODEL.READER.HIDDEN", "16")
    cfg.MODEL.READER.CHARACTERS = list(characters)
    torch.manual_seed(5)
    model = TASK.build_model(cfg)
    path = tmp_path / f"{kind}.pth"
    torch.save({"model": model.state_dict(), "classes": list(characters)}, path)
    return cfg, model, path


@pytest.mark.parametrize("kind", ["CRNN", "RARE"])
def test_another_charset_carries_rows_over_by_character(tmp_path, kind, caplog):
    cfg, old, path = weights_of(tmp_path, kind, "abcd")
    cfg.MODEL.WEIGHTS = str(path)
    cfg.MODEL.READER.CHARACTERS = list("cxa")
    with pytest.raises(UserError, match="CHARSET_RESIZE"):
        build_student(cfg)
    cfg.MODEL.READER.CHARSET_RESIZE = "new"
    new = build_student(cfg)
    rows, before = new.decoder.linear.weight, old.decoder.linear.weight
    for here, there in ((0, 0), (1, 3), (3, 1)):
        assert torch.equal(rows[here], before[there])
        assert new.decoder.linear.bias[here] == old.decoder.linear.bias[there]
    assert not any(torch.equal(rows[2], each) for each in before)
    assert torch.equal(new.body.stem[0].weight, old.body.stem[0].weight)
    if kind == "RARE":
        inputs, earlier = new.decoder.cell.weight_ih, old.decoder.cell.weight_ih
        assert torch.equal(rows[4], before[5])
        # The context comes before the characters.
        assert torch.equal(inputs[:, :32], earlier[:, :32])
        assert torch.equal(inputs[:, 32 + 3], earlier[:, 32 + 1])
        assert torch.equal(inputs[:, -1], earlier[:, -1])


def test_a_union_keeps_the_old_classes_in_their_places(tmp_path, crops_data, reader_pair):
    _, old, path = weights_of(tmp_path, "CRNN", "zy ")
    keys = ["MODEL.WEIGHTS", str(path), "MODEL.READER.CHARSET_RESIZE", "union"]
    small = ["MODEL.READER.WIDTH", "0.5", "MODEL.READER.NECK", "none"]
    cfg = load_cfg(reader_pair, [*keys, *small])
    assert cfg.MODEL.READER.CHARACTERS[:3] == ["z", "y", " "]
    assert set(cfg.MODEL.READER.CHARACTERS) == {*"zy", *"".join(TEXTS)}
    new = build_student(cfg)
    assert torch.equal(new.decoder.linear.weight[:4], old.decoder.linear.weight)
    with pytest.raises(UserError, match="CHARSET_RESIZE"):
        load_cfg(reader_pair, ["MODEL.READER.CHARSET_RESIZE", "both"])


def test_a_head_of_another_width_is_not_carried():
    fresh, old = torch.zeros(4, 3), torch.ones(5, 2)
    assert carried(fresh, old, dim=0, pairs=[(-4, -5)]) is old


def test_lines_longer_than_the_limit_are_not_trained_on(reader_pair):
    cfg = load_cfg(reader_pair, ["INPUT.CROPS.MAX_WIDTH", "64"])
    names = {line["text"] for line in TASK.training_dicts(cfg)}
    assert "one" in names and "three 3" not in names


def test_compare_has_columns_for_exact_matches_and_errors(trained, reader_pair, tmp_path, capsys):
    words = ["compare", str(reader_pair), "--seeds", "2", "--out", str(tmp_path / "out")]
    assert main([*words, "SOLVER.MAX_ITER", "2", "TEST.EVAL_PERIOD", "0"]) == 0
    said = capsys.readouterr().out
    assert "exact (%)" in said and "CER (%)" in said
    rows = json.loads((tmp_path / "out" / "compare.json").read_text())["rows"]
    assert [row["name"] for row in rows] == ["teacher", "plain", "pkd+fitnets+ctc_mean"]
    assert [row["values"]["CER"]["n"] for row in rows] == [1, 2, 2]
    assert rows[2]["difference"]["mean"] is not None
