"""Runs of other results files: taken in where everything agrees, refused by name where not."""

import json
import shutil
from pathlib import Path

import pytest

from graphkd.cli import main
from graphkd.compare.run import compare
from graphkd.engine import run
from graphkd.errors import UserError
from tests.compare import toy

OTHER = "96 CPU cores (one of another make), a GPU"


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    return toy.write_pair(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def monday(toys, tmp_path_factory):
    """Results of pkd over two seeds, with plain student and teacher, as of another machine."""
    out = tmp_path_factory.mktemp("monday")
    compare(toy.contest(toys, out, methods=["pkd"]), seeds=2)
    return change(out / "compare.json", out / "compare.json", machine=OTHER, date="2025-06-02")


@pytest.fixture(scope="module")
def trained(toys, monday, tmp_path_factory):
    """Folder of fitnets over two seeds beside the runs of `monday`, which has the plain ones."""
    out = tmp_path_factory.mktemp("tuesday")
    compare(toy.contest(toys, out, methods=["fitnets"]), seeds=2, add=[monday])
    return out


@pytest.fixture
def untrained(monkeypatch):
    """Nothing may be trained."""
    monkeypatch.setattr(run, "build_trainer", None)


def change(source, target, *, only=lambda row: True, **values):
    """Writes a results file whose runs are changed; a dict is merged."""
    content = json.loads(source.read_text())
    for row in filter(only, content["runs"]):
        for key, value in values.items():
            row[key] = {**row[key], **value} if isinstance(value, dict) else value
    target.write_text(json.dumps(content))
    return target


def numbers(folder):
    return json.loads((folder / "compare.json").read_text())


def states(ledger):
    return {row.name: row.state for row in ledger.rows}


def test_added_runs_are_rows_and_are_not_trained(trained, monday):
    assert sorted(path.name for path in trained.glob("seed*/*")) == ["fitnets", "fitnets"]
    found = numbers(trained)
    rows = {row["name"]: row for row in found["rows"]}
    assert list(rows) == ["teacher", "plain", "fitnets", "pkd"]
    assert {name: row["state"] for name, row in rows.items()} == {
        "teacher": "",  # scored here: its weights are here
        "plain": "added",
        "fitnets": "",
        "pkd": "added",
    }
    before = {row["name"]: row for row in json.loads(monday.read_text())["rows"]}
    for key in ("values", "difference", "seeds"):
        assert rows["pkd"][key] == before["pkd"][key]
    assert rows["fitnets"]["pairs"] == 2
    note = f"pkd, seeds 1, 2: added from {monday}, trained on {OTHER} (2025-06-02)."
    assert note in found["notes"]
    assert any("do not compare their times" in text for text in found["notes"])
    text = (trained / "compare.md").read_text()
    assert "| pkd (added) " in text and "| fitnets " in text
    assert "pkd (added)" in (trained / "compare.html").read_text()


def test_a_file_older_than_a_key_has_its_default(toys, monday, tmp_path, untrained):
    content = json.loads(monday.read_text())
    for config in (content["config"], *(row["config"] for row in content["runs"])):
        config.pop("DISTILL.TEACHER.CACHE", None)
    old = tmp_path / "old.json"
    old.write_text(json.dumps(content))
    ledger = compare(
        toy.contest(toys, tmp_path / "out", methods=["pkd"]), seeds=2, add=[old], trains=False
    )
    assert set(states(ledger).values()) == {"added"}
    assert {row.name: len(row.seeds) for row in ledger.rows}["pkd"] == 2


def test_a_step_costs_what_it_costs_against_the_same_machine(trained, toys, monday, tmp_path):
    rows = {row["name"]: row for row in numbers(trained)["rows"]}
    before = {row["name"]: row for row in json.loads(monday.read_text())["rows"]}
    assert rows["pkd"]["step_cost"] == before["pkd"]["step_cost"]
    assert rows["fitnets"]["step_cost"] is None
    # With plain runs here, too, these make the row, and those of monday still time pkd.
    out = Path(shutil.copytree(trained, tmp_path / "out"))
    compare(toy.contest(toys, out, methods=["fitnets"]), seeds=2)
    ledger = compare(toy.contest(toys, out, methods=["fitnets"]), seeds=2, add=[monday])
    rows = {row.name: row for row in ledger.rows}
    assert rows["plain"].state == "" and rows["plain"].score.n == 2
    assert rows["fitnets"].step_cost > 0 and rows["pkd"].step_cost == before["pkd"]["step_cost"]


def test_a_merged_file_can_be_added_again(trained, toys, tmp_path, untrained):
    merged = trained / "compare.json"
    contest = toy.contest(toys, tmp_path, methods=["pkd", "fitnets"])
    ledger = compare(contest, seeds=2, add=[merged])
    assert states(ledger) == dict.fromkeys(("teacher", "plain", "pkd", "fitnets"), "added") | {
        "teacher": ""
    }
    before = {row["name"]: row for row in numbers(trained)["rows"]}
    assert all(row.score.mean == before[row.name]["values"]["error"]["mean"] for row in ledger.rows)


def test_missing_seeds_of_an_added_method_are_trained(toys, monday, tmp_path):
    first = change(monday, tmp_path / "a.json")
    content = json.loads(first.read_text())
    content["runs"] = [row for row in content["runs"] if row["seed"] != 2]
    first.write_text(json.dumps(content))
    out = tmp_path / "out"
    ledger = compare(toy.contest(toys, out, methods=["pkd"]), seeds=2, add=[first])
    assert sorted(path.name for path in out.glob("seed*/*")) == ["pkd", "plain"]
    assert states(ledger) == {"teacher": "", "plain": "partly added", "pkd": "partly added"}
    assert {row.name: row.seconds for row in ledger.rows}["pkd"] is None


def test_without_training_what_is_not_there_is_not_run(trained, toys, tmp_path, untrained):
    out = Path(shutil.copytree(trained, tmp_path / "out"))
    contest = toy.contest(toys, out, methods=["mgd", "fitnets"])
    ledger = compare(contest, seeds=3, trains=False)
    assert states(ledger) == {"teacher": "", "plain": "not run", "mgd": "not run", "fitnets": ""}
    assert not ledger.failed and not (out / "seed3").exists()
    text = (out / "compare.md").read_text()
    assert "| mgd (not run) " in text
    row = next(line for line in text.splitlines() if line.startswith("| mgd (not run)"))
    assert set(row.split("|")[2].split()) == {"–"}


def test_without_training_no_folder_is_moved(trained, toys, tmp_path, untrained):
    out = Path(shutil.copytree(trained, tmp_path / "out"))
    contest = toy.contest(toys, out, "SOLVER.BASE_LR", "0.5", methods=["fitnets"])
    ledger = compare(contest, seeds=2, trains=False)
    assert states(ledger)["fitnets"] == "not run"
    assert not list(out.rglob("*.old*"))


@pytest.fixture
def elsewhere(toys, tmp_path):
    """The pair without its teacher's weights, as on another machine."""
    folder = Path(shutil.copytree(Path(toys).parent, tmp_path / "elsewhere"))
    shutil.rmtree(folder / "teacher")
    for name in ("run", "teacher"):
        text = (folder / f"{name}.yaml").read_text()
        text = text.replace(str(Path(toys).parent), str(folder))
        (folder / f"{name}.yaml").write_text(text)
    return str(folder / "run.yaml")


def test_a_table_can_be_made_of_files_alone(elsewhere, trained, tmp_path, untrained):
    out = tmp_path / "out"
    contest = toy.contest(elsewhere, out, methods=["pkd", "fitnets"])
    ledger = compare(contest, seeds=2, add=[trained / "compare.json"])
    assert set(states(ledger).values()) == {"added"} and len(ledger.rows) == 4


def test_added_rows_need_their_own_teacher(elsewhere, monday, tmp_path, untrained):
    contest = toy.contest(elsewhere, tmp_path / "out", methods=["fitnets"])
    with pytest.raises(UserError, match="teacher of the added runs is missing; copy its weights"):
        compare(contest, seeds=2, add=[monday])


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"config": {"SOLVER.BASE_LR": 0.5}}, "SOLVER.BASE_LR is 0.5, here it is 0.05"),
        ({"config": {"DISTILL.RAMP": 7}}, "DISTILL.RAMP is 7, here it is 0"),
        ({"config": {"DISTILL.LOSSES.pkd.WEIGHT": 9.0}}, "DISTILL.LOSSES.pkd.WEIGHT is 9.0, here"),
        ({"seed": 7}, "SEED is 7, here it is 1, 2"),
        ({"made_from": {"number format": "bfloat16"}}, "its number format is bfloat16, here it is"),
        ({"made_from": {"teacher": "0" * 64}}, "the content of its teacher file differs"),
        ({"factor": 2.0}, "DISTILL.LOSSES.pkd.WEIGHT is 6.0, here it is 12.0"),
    ],
)
def test_runs_that_differ_are_refused_by_the_key(toys, monday, tmp_path, changed, reason):
    file = change(monday, tmp_path / "other.json", only=lambda row: row["name"] == "pkd", **changed)
    lines = []
    contest = toy.contest(toys, tmp_path / "out", methods=["pkd"])
    ledger = compare(contest, seeds=2, add=[file], trains=False, say=lines.append)
    assert states(ledger) == {"teacher": "added", "plain": "added", "pkd": "not run"}
    (line,) = [line for line in lines if "cannot be added" in line]
    assert line.startswith(f"{file}: pkd, seed") and reason in line and "\n" not in line
    assert line in ledger.notes


def test_other_annotations_are_refused(toys, monday, tmp_path, monkeypatch):
    file = change(monday, tmp_path / "a.json", made_from={"data toy_test": "a" * 64})
    contest = toy.contest(toys, tmp_path / "out", methods=["fitnets"])
    other = change(monday, tmp_path / "b.json", made_from={"data toy_test": "b" * 64})
    with pytest.raises(UserError, match="b.json: .* the content of its data toy_test file differs"):
        compare(contest, seeds=2, add=[file, other], trains=False)


def test_the_weights_of_a_method_are_those_of_the_file_before(toys, monday, tmp_path):
    """A method that is not named here: the first file says what it is."""
    weights = {"DISTILL.LOSSES.pkd.WEIGHT": 9.0}
    other = change(
        monday, tmp_path / "b.json", only=lambda row: row["name"] == "pkd", config=weights
    )
    contest = toy.contest(toys, tmp_path / "out", methods=["fitnets"])
    ledger = compare(contest, seeds=2, add=[monday, other], trains=False)
    assert any("pkd, seeds 1, 2 cannot be added: DISTILL.LOSSES" in note for note in ledger.notes)
    ledger = compare(contest, seeds=2, add=[other], trains=False)
    assert states(ledger)["pkd"] == "added"


def test_files_that_cannot_be_added_are_one_line(toys, monday, tmp_path):
    contest = toy.contest(toys, tmp_path / "out", methods=["pkd"])
    content = json.loads(monday.read_text())
    old = {**content, "runs": [{**row, "made_from": None} for row in content["runs"]]}
    for row in old["runs"]:
        del row["made_from"]
    tuned = {"factors": [1.0, 2.0], "data": "toy_val", "digest": None, "seed": 1}
    for wrong, told in (
        (None, "no such results file"),
        ("{", "no results of a comparison"),
        ([], "no results of a comparison"),
        (old, "it was written by an earlier version"),
        ({**content, "runs": []}, "holds no finished run"),
        ({**content, "task": "layout"}, "its TASK is layout, here it is tests.toy_task:TASK"),
        ({**content, "tuning": tuned}, "are times 1,2 at seed 1, here they are not tuned"),
    ):
        path = tmp_path / "file.json"
        path.unlink(missing_ok=True)
        if wrong is not None:
            path.write_text(wrong if isinstance(wrong, str) else json.dumps(wrong))
        with pytest.raises(UserError, match=f"file.json: .*{told}"):
            compare(contest, seeds=2, add=[path])
    with pytest.raises(UserError, match="cannot be used with --budget time"):
        compare(contest, seeds=2, add=[monday], budget="time")


def test_a_tuned_method_is_added_with_its_search(toys, tmp_path):
    factors, out = [1.0, 2.0], tmp_path / "first"
    compare(toy.contest(toys, out, methods=["pkd"]), seeds=1, tune=factors)
    file = out / "compare.json"
    contest = toy.contest(toys, tmp_path / "out", methods=["pkd", "fitnets"])
    ledger = compare(contest, seeds=2, tune=factors, add=[file])
    search = json.loads(file.read_text())["tuning"]
    assert ledger.search.scores["pkd"] == search["scores"]["pkd"]
    assert set(ledger.search.scores) == {"pkd", "fitnets"}
    factor = ledger.search.chosen["pkd"]
    assert factor == search["chosen"]["pkd"]
    assert states(ledger)["pkd"] == "partly added"
    folder = "pkd" if factor == 1 else f"pkd@{factor:g}"
    assert [path.parent.name for path in (tmp_path / "out").glob("seed*/pkd*")] == ["seed2"]
    assert (tmp_path / "out" / "seed2" / folder / "result.json").is_file()
    with pytest.raises(UserError, match="are times 1,2 at seed 1, here they are times 1,3"):
        compare(contest, seeds=2, tune=[1.0, 3.0], add=[file])


def test_the_command_line_says_all_of_it(trained, toys, monday, tmp_path, capsys, untrained):
    out = shutil.copytree(trained, tmp_path / "out")
    words = ["compare", toys, "--methods", "fitnets", "--seeds", "2", "--out", str(out)]
    assert main([*words, "--add", str(monday), "--no-train"]) == 0
    said = capsys.readouterr().out
    assert "pkd (added)" in said and f"pkd, seed 1: added from {monday}" in said
    command = numbers(out)["about"]["command"]
    assert f"--add {monday}" in command and command.endswith("--no-train")
    assert main([*words, "--tune", "1;2"]) == 2
    assert "--tune 1;2: give numbers with commas" in capsys.readouterr().err
