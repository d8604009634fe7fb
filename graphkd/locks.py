"""One process at a time in a folder; what it does there is decided elsewhere."""

import contextlib
import errno
import fcntl
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from graphkd.errors import UserError

logger = logging.getLogger(__name__)

LOCK = ".lock"
_PATIENCE = 8.0  # seconds


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keeps other processes out of a folder; the system frees it in any case.

    A file system without locks, as some of clusters are, gets a warning.

    Raises:
        UserError: another process holds it.
    """
    path = folder / LOCK
    file = _locked(path)
    try:
        yield
    finally:
        # In a folder that was moved meanwhile the name may be another process's lock.
        with contextlib.suppress(OSError):
            if _is(path, file):
                path.unlink()
        # Closing is not enough: loader workers have the open file, too.
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_UN)
        file.close()


def _locked(path: Path) -> IO:
    """The locked file of that name; one that its last holder took away meanwhile does not count."""
    while True:
        file = _opened(path)
        try:
            _lock(file)
        except BlockingIOError as error:
            file.close()
            raise UserError(
                f"{path.parent}: another process works there; wait for its end"
            ) from error
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
                file.close()
                raise
            logger.warning(
                "%s cannot be locked (%s): start no second run there", path.parent, error
            )
            return file
        if _is(path, file):
            return file
        file.close()


def _opened(path: Path) -> IO:
    """The file in its folder, made where it is missing, also while its holder moves that folder."""
    for _ in range(9):
        with contextlib.suppress(FileExistsError, FileNotFoundError):
            path.parent.mkdir(parents=True, exist_ok=True)
            return path.open("w")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("w")


def _is(path: Path, file: IO) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _lock(file: IO) -> None:
    """Tries for some seconds: the loader workers of a killed run hold its lock a little longer."""
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
