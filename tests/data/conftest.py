"""An empty data folder for the tests of data set names."""

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from graphkd.data import catalog


@pytest.fixture()
def data_root(tmp_path, monkeypatch):
    """An empty data folder and empty catalogs, as far as graphkd fills them."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "datasets"))
    before = set(DatasetCatalog) | set(MetadataCatalog)
    catalog.unregister_all()
    yield tmp_path / "datasets"
    catalog.unregister_all()
    for name in (set(DatasetCatalog) | set(MetadataCatalog)) - before:
        DatasetCatalog.pop(name, None)
        MetadataCatalog.pop(name, None)
