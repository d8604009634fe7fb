"""Files that are written whole or not at all, locks on folders, and checksums."""

import contextlib
import errno
import hashlib
import json
import logging
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from graphkd.errors import UserError

logger = logging.getLogger(__name__)

# Errors of a disk that is full or broken, as opposed to errors of the program.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
# Names of unfinished files match this; a killed process leaves them behind.
UNFINISHED = ".*.tmp"
# Errors of a file system without locks, or of a place where no lock file may be made.
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EACCES, errno.EPERM, errno.EROFS)
# Seconds. Processes that a killed run had started may need some to end and free its lock.
_PATIENCE = 8.0


@contextlib.contextmanager
def replacing(path: Path, *, sync: bool = False) -> Iterator[IO[bytes]]:
    """A file to write bytes into, which takes the place of `path` when the block ends well.

    After an error nothing is left of it and an older file is as it was.

    Args:
        path: the file.
        sync: wait until the disk has the content, so that a power failure right after the block
            cannot leave an empty file.
    """
    path = Path(path)
    # A name of its own, since two processes may write the same file; it is short because `path`
    # may use up the length that the file system allows.
    temporary = path.with_name(f".{secrets.token_hex(6)}.tmp")
    try:
        with open(temporary, "xb") as stream:
            yield stream
            if sync:
                stream.flush()
                os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text in one step; parent folders are made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as stream:
        stream.write(text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as strict JSON in one step.

    Raises:
        ValueError: `value` holds NaN or infinity, which JSON cannot express.
    """
    write_text(path, json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n")


class NewFolder:
    """A folder that appears only when the block ends without an error.

    The block writes into `OUT.partial`. An empty folder that exists may be a link, a mounted disk
    or the current folder, so it is not replaced: there the block writes into `OUT/.partial`, and
    the content is moved up at the end.
    """

    def __init__(self, out: str | Path):
        self.out = Path(out)
        self._place = self.out.resolve()
        if self._place.is_dir():
            self.draft = self._place / ".partial"
        else:
            self.draft = self._place.with_name(f"{self._place.name}.partial")

    def check(self) -> None:
        """Refuse a folder that cannot be a new one.

        Raises:
            UserError: it is not empty, is a file, or an earlier run left its draft.
        """
        if self.draft.exists():
            raise UserError(f"{self.draft} is left from an earlier run; delete it")
        if self._place.exists() and (not self._place.is_dir() or any(self._place.iterdir())):
            raise UserError(f"{self.out} is already there and not empty; name a new folder")

    def __enter__(self) -> Path:
        self.check()
        self.draft.mkdir(parents=True)  # an error where another run makes it at this moment
        return self.draft

    def __exit__(self, kind: Any, *_: Any) -> None:
        if kind is not None:
            shutil.rmtree(self.draft, ignore_errors=True)
            return
        try:
            self._publish()
        except OSError as error:
            raise UserError(
                f"everything is written, but cannot be moved to {self.out} ({error.strerror}); "
                f"it is in {self.draft}"
            ) from None

    def _publish(self) -> None:
        if self.draft.parent != self._place:
            self.draft.rename(self._place)
            return
        for path in sorted(self.draft.iterdir(), key=Path.is_file):  # what lists the images, last
            path.rename(self._place / path.name)
        self.draft.rmdir()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, 64 hexadecimal digits."""
    found = hashlib.sha256()
    with Path(path).open("rb") as stream:
        while block := stream.read(1 << 20):
            found.update(block)
    return found.hexdigest()


def lock_file(folder: Path) -> Path:
    """Where the lock of a folder is: beside it, so that the folder can be moved while it is held.

    Links are followed, so that a folder has one lock under all its names.
    """
    real = Path(folder).resolve()
    return real.with_name(f"{real.name}.lock") if real.name else real / ".lock"


@contextlib.contextmanager
def held(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Keeps other processes out of a folder; the system frees it when the process is killed.

    Where the file system has no locks, a warning is logged and the block runs without one.

    Args:
        folder: need not exist, and is not made.
        wait: for the end of another holder, however long it takes.

    Raises:
        UserError: another process holds the folder, and goes on holding it for some seconds.
    """
    path = lock_file(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, fallback_to_soft=False)
    try:
        lock.acquire(-1 if wait else _PATIENCE, poll_interval=0.1)
    except Timeout as error:
        raise UserError(f"{folder}: another process works there; wait for its end") from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        logger.warning(
            "%s cannot be locked (%s): do not start a second process there", folder, error
        )
        yield
        return
    try:
        yield
    finally:
        # Removed before it is freed, while nobody else can hold it. Who waits for the removed file
        # notices that it is gone and makes a new one.
        with contextlib.suppress(OSError):
            path.unlink()
        lock.release()
