"""Tests of graphkd/distill/losses/build.py: the registry (building is in test_contract.py)."""

import pytest

from graphkd.distill.losses.base import DistillLoss
from graphkd.distill.losses.build import LOSSES, register
from graphkd.distill.losses.fitnets import FitNets


def test_the_yaml_name_finds_the_class():
    assert LOSSES.get("fitnets") is FitNets


def test_a_name_is_given_once():
    with pytest.raises(AssertionError, match="fitnets"):
        register("fitnets")(DistillLoss)
