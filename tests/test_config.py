import pytest

from graphkd.config import find_config, load_cfg
from graphkd.errors import UserError


def write(path, text):
    path.write_text(text)
    return path


def test_bases_are_merged_in_order(tmp_path):
    write(tmp_path / "a.yaml", "SOLVER: {MAX_ITER: 1, BASE_LR: 0.5}")
    write(tmp_path / "b.yaml", "SOLVER: {MAX_ITER: 2}")
    cfg = load_cfg(write(tmp_path / "run.yaml", '_BASE_: ["a.yaml", "b.yaml"]'), ["SEED", "7"])
    assert (cfg.SOLVER.MAX_ITER, cfg.SOLVER.BASE_LR, cfg.SEED) == (2, 0.5, 7)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "run.yaml"),
        ("SOLVER: [", "run.yaml"),
        ("SOLVER: {NO_SUCH: 1}", "NO_SUCH"),
        ("SOLVER: {MAX_ITER: many}", "many"),
        ('_BASE_: "missing.yaml"', "missing.yaml"),
        ("- a list", "run.yaml"),
    ],
)
def test_a_wrong_yaml_is_a_users_mistake(tmp_path, text, problem):
    with pytest.raises(UserError, match=problem):
        load_cfg(write(tmp_path / "run.yaml", text))


def test_a_config_is_found_from_elsewhere(tmp_path, monkeypatch, root):
    monkeypatch.chdir(tmp_path)
    assert find_config("configs/R50-R18.yaml") == root / "configs" / "R50-R18.yaml"
    write(tmp_path / "near.yaml", "")
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    assert find_config("near.yaml", near=tmp_path / "a" / "b" / "run.yaml").samefile(
        tmp_path / "near.yaml"
    )
