"""Pruning of a run: adapted batch norms, resumed measurements, and a yaml that rebuilds."""

import json
import subprocess
import sys

import pytest
import torch

from graphkd.cli import main
from graphkd.config import load_cfg
from graphkd.errors import UserError
from graphkd.modelfile import build_detector, read_model
from graphkd.pruning.groups import Costs, groups_of
from graphkd.pruning.search import PruneOptions, Trials, adapted, prune
from graphkd.tasks.text_recognition import TASK
from tests.crops_data import crops_data, write_reader_pair  # noqa: F401


@pytest.fixture(scope="module")
def run(crops_data, tmp_path_factory):  # noqa: F811
    """The folder of a run whose reader was never trained, but writes something."""
    folder = tmp_path_factory.mktemp("prune")
    cfg = load_cfg(write_reader_pair(folder, crops_data))
    (folder / "run").mkdir()
    (folder / "run" / "config.yaml").write_text(cfg.dump())
    torch.manual_seed(0)
    model = TASK.build_model(cfg)
    with torch.no_grad():
        model.decoder.linear.weight *= 30
        model.decoder.linear.bias[0] = -3
    stored = {"model": model.state_dict(), "classes": list(model.charset.names)}
    stored |= {"task": "text_recognition", "config": cfg.dump()}
    torch.save(stored, folder / "run" / "model_final.pth")
    return folder / "run"


@pytest.fixture(scope="module")
def trials(run):
    stored = read_model(run / "model_final.pth", config=run / "config.yaml")
    return Trials(stored, by="l1", lines=6, seed=0)


def test_adapting_leaves_weights_untouched(trials):
    model = build_detector(trials.stored)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    momentum = [each.momentum for each in model.modules() if hasattr(each, "momentum")]
    adapted(model, trials._train)
    changed = {n for n, v in model.state_dict().items() if not torch.equal(v, before[n])}
    assert changed and all("running" in name or "num_batches" in name for name in changed)
    assert not model.training
    assert momentum == [each.momentum for each in model.modules() if hasattr(each, "momentum")]
    # The statistics are the plain mean over the batches.
    first = model.body.stem[1].running_mean
    with torch.no_grad():
        seen = [
            model.body.stem[0](_normalised(model, batch)).mean((0, 2, 3)) for batch in trials._train
        ]
    assert torch.allclose(first, torch.stack(seen).mean(0), atol=1e-4)


def _normalised(model, batch):
    images, widths = model.pixels(batch)
    valid = torch.arange(images.shape[-1]) < widths[:, None]
    return (images - model.pixel_mean) / model.pixel_std * valid[:, None, None]


def test_a_stopped_measurement_goes_on(trials, tmp_path, monkeypatch):
    path, scored = tmp_path / "s.json", []

    def score(model):
        scored.append(1)
        if len(scored) == 5:
            raise KeyboardInterrupt
        return 50.0 - len(scored)

    monkeypatch.setattr(trials, "score", score)
    monkeypatch.setattr(trials, "build", lambda widths: widths)
    with pytest.raises(KeyboardInterrupt):
        trials.sensitivity(path, progress=False)
    measured = json.loads(path.read_text())
    assert measured["score"] == 49 and len(measured["loss"]["inner.0"]) == 3
    losses = trials.sensitivity(path, progress=False)
    assert len(scored) == 5 + len(trials.groups) * 9 - 3
    assert losses["inner.0"]["0.1"] == pytest.approx(1 - 48 / 49)
    assert json.loads(path.read_text())["loss"] == losses
    measured["about"]["lines"] += 1
    path.write_text(json.dumps(measured))
    with pytest.raises(UserError, match="delete it or name another"):
        trials.sensitivity(path, progress=False)


def test_the_best_candidate_wins(trials, monkeypatch):
    monkeypatch.setattr(trials, "build", lambda widths: widths)
    monkeypatch.setattr(trials, "score", lambda widths: widths["inner.0"])
    best = trials.best_candidate(target=0.7, plans=8, seed=3, progress=False)
    assert 0.69 <= trials.costs(best) / trials.costs({}) <= 0.7
    other = trials.best_candidate(target=0.7, plans=1, seed=3, progress=False)
    assert best["inner.0"] >= other["inner.0"]


def test_a_pruned_model_rebuilds_from_its_yaml(run, tmp_path, capsys):
    out = tmp_path / "small.yaml"
    words = ["prune", str(run), "-o", str(out), "--by", "candidates", "--target", "0.7"]
    assert main([*words, "--plans", "2", "--lines", "6"]) == 0
    told = capsys.readouterr().out
    assert "multiplications: " in told and "inner.0 " in told and str(out) in told
    cfg = load_cfg(out)
    assert cfg.DATASETS.TRAIN == load_cfg(run / "config.yaml").DATASETS.TRAIN
    assert cfg.DISTILL.TEACHER.CONFIG == str(run / "config.yaml")
    assert cfg.OUTPUT_DIR == str(run.parent / "small") and not cfg.MODEL.READER.STAGES
    model = TASK.build_model(cfg)
    whole = TASK.build_model(load_cfg(run / "config.yaml"))
    share = Costs(model, ())({}) / Costs(whole, groups_of(whole))({})
    assert 0.69 <= share <= 0.7
    # In a fresh process, config and weights give the same outputs.
    here = build_detector(read_model(out.with_suffix(".safetensors")))
    images, widths = torch.linspace(0, 255, 3 * 32 * 96).view(1, 3, 32, 96), torch.tensor([90])
    with torch.no_grad():
        wanted = here.frames(images, widths)[0].sum().item()
    code = f"""
import torch
from graphkd.config import load_cfg
from graphkd.engine.build import build_student
model = build_student(load_cfg({str(out)!r})).eval()
images = torch.linspace(0, 255, 3 * 32 * 96).view(1, 3, 32, 96)
with torch.no_grad():
    print(model.frames(images, torch.tensor([90]))[0].sum().item())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout.splitlines()[-1]) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"by": "taylor"}, "--by taylor"),
        ({"target": 1.5}, "--target 1.5"),
        ({"lines": 0}, "--lines is at least 1"),
        ({"out": "a.json"}, "name a .yaml file"),
        ({"out": "run.yaml"}, "choose another one"),
        ({"run": "nowhere"}, "no config.yaml"),
    ],
)
def test_wrong_options_are_told_before_anything_is_read(run, change, message):
    options = {"run": run, "out": "new.yaml", **change}
    folder = run.parent
    options |= {"run": folder / options["run"], "out": folder / options["out"]}
    with pytest.raises(UserError, match=message):
        prune(PruneOptions(**options))
