"""Tests of graphkd/losses/register.py."""

import pytest

from graphkd.losses.base import DistillLoss
from graphkd.losses.build import LOSSES
from graphkd.losses.fitnets import FitNets
from graphkd.losses.register import register


def test_the_yaml_name_finds_the_class():
    assert LOSSES.get("fitnets") is FitNets


def test_a_name_is_given_once():
    with pytest.raises(AssertionError, match="fitnets"):
        register("fitnets")(DistillLoss)
