"""How folders of generated data are written: by several processes, and complete or not at all."""

import contextlib
import multiprocessing
import os
import shutil
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from graphkd.errors import UserError


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yields a hidden folder beside `folder`, which gets its name only when the block ends well.

    Raises:
        UserError: the folder exists and is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists and is not empty: choose another folder or delete it")
    making = folder.with_name(f".{folder.name}.making-{uuid.uuid4().hex[:8]}")
    try:
        making.mkdir(parents=True)
        yield making
        if folder.exists():
            folder.rmdir()
        making.rename(folder)
    finally:
        shutil.rmtree(making, ignore_errors=True)


@contextlib.contextmanager
def mapper(count: int, workers: int | None, *, chunk: int = 4) -> Iterator:
    """A map function over this many processes (None: one per core), in order.

    Args:
        count: of the things to be made; no more processes are started.
        workers: of the processes.
        chunk: things that a process gets at a time.
    """
    processes = min(workers or os.cpu_count() or 1, count)
    if processes == 1:
        yield map
        return
    # Forked workers need no importable main module; elsewhere than on Linux forking is not safe.
    method = "fork" if sys.platform == "linux" else "spawn"
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context(method)) as pool:
        try:
            yield partial(pool.map, chunksize=chunk)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
