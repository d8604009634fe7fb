"""Tests of graphkd/distill/losses/register.py."""

import pytest

from graphkd.distill.losses.base import DistillLoss
from graphkd.distill.losses.build import LOSSES
from graphkd.distill.losses.fitnets import FitNets
from graphkd.distill.losses.register import register


def test_the_yaml_name_finds_the_class():
    assert LOSSES.get("fitnets") is FitNets


def test_a_name_is_given_once():
    with pytest.raises(AssertionError, match="fitnets"):
        register("fitnets")(DistillLoss)
