import pytest
import torch
from torch import nn

from graphkd.distill.average import RunningAverage


@pytest.fixture()
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))


def fill(model, value):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(value)


def test_the_decay_grows_from_a_tenth(model):
    fill(model, 0.0)
    average = RunningAverage(model, decay=0.9998)
    fill(model, 1.0)
    average.update(model)
    first = average.model[0].weight[0, 0].item()
    assert first == pytest.approx(0.9)  # 0 keeps a share of 1 / 10
    average.update(model)
    assert average.model[0].weight[0, 0].item() == pytest.approx(first * 2 / 11 + 9 / 11)


def test_buffers_are_the_newest_ones_and_nothing_learns(model):
    average = RunningAverage(model, decay=0.5)
    model(torch.randn(8, 2) + 3)
    average.update(model)
    assert torch.equal(average.model[1].running_mean, model[1].running_mean)
    assert not average.model.training
    assert not any(parameter.requires_grad for parameter in average.model.parameters())


def test_a_model_gets_its_own_weights_back(model):
    fill(model, 1.0)
    average = RunningAverage(model, decay=0.5)
    fill(model, 2.0)
    with pytest.raises(RuntimeError), average.applied_to(model):
        assert (model[0].weight == 1).all()
        raise RuntimeError
    assert (model[0].weight == 2).all()


def test_it_goes_on_after_a_resume(model):
    average, again = RunningAverage(model, decay=0.9), RunningAverage(model, decay=0.9)
    fill(model, 1.0)
    average.update(model)
    again.load_state_dict(average.state_dict())
    for each in (average, again):
        fill(model, 3.0)
        each.update(model)
    assert torch.equal(average.model[0].weight, again.model[0].weight) and again.updates == 2
