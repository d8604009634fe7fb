"""The empty data folder of the data room's tests."""

from tests.data.conftest import data_root  # noqa: F401
