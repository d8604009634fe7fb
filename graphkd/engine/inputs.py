"""The files that a run's result depends on, known again by their content."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from detectron2.config import CfgNode

from graphkd.data.catalog import source_json
from graphkd.io import file_digest


def inputs_of(cfg: CfgNode, *, teacher: Path | None) -> dict[str, str | None]:
    """SHA-256 of the teacher's weights, of MODEL.WEIGHTS and of the annotations of training and
    test; None for none, or one that is not there.
    """
    names = [*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST]
    annotations = {f"data {name}": source_json(name) for name in names}
    files = {"teacher": teacher, "MODEL.WEIGHTS": cfg.MODEL.WEIGHTS, **annotations}
    return {name: _digest(path) for name, path in files.items()}


def changed_input(written: Mapping[str, str | None], now: Mapping[str, str | None]) -> str | None:
    """A sentence about the first file that was another when `written` was; None if all agree.

    What either side does not know does not count.
    """
    for name, digest in now.items():
        if digest is not None and written.get(name) not in (None, digest):
            return f"the file of its {name} was another then"
    return None


def known_inputs(
    written: Mapping[str, str | None], now: Mapping[str, str | None]
) -> dict[str, str | None]:
    """`now`, with what was written of files that are gone since."""
    return {name: digest or written.get(name) for name, digest in now.items()}


def _digest(path: Path | str | None) -> str | None:
    if not path or not Path(path).is_file():
        return None
    about = Path(path).stat()
    return _digest_of(Path(path), about.st_mtime_ns, about.st_size)


@cache
def _digest_of(path: Path, changed_ns: int, size: int) -> str:
    """The digest of a file that may be large, read again only after a change."""
    return file_digest(path)
