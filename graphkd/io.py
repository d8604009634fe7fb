"""Writes files completely or not at all; locks folders; computes checksums."""

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

# Errors of a full, read-only or broken disk, which are not errors of the program.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
# Names of unfinished files match this; a killed process leaves them behind.
UNFINISHED = ".*.tmp"
# Errors of a file system without locks, or of a folder in which no lock file can be made.
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EACCES, errno.EPERM, errno.EROFS)
# Seconds to wait for a lock. After a run is killed, its worker processes may hold it a little
# longer.
_PATIENCE = 8.0


@contextlib.contextmanager
def replacing(path: Path, *, sync: bool = False) -> Iterator[IO[bytes]]:
    """Opens a temporary file for bytes, which replaces `path` when the block ends without an error.

    After an error the temporary file is removed, and an older file at `path` is unchanged.

    Args:
        path: the file to write.
        sync: wait until the content is on the disk, so that a power failure right after the block
            cannot leave an empty file.
    """
    path = Path(path)
    # The name is random because two processes may write the same file. It does not contain the name
    # of `path`, which may already have the greatest length that the file system allows.
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
    """Writes a UTF-8 text file in one step, and makes its parent folders."""
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

    The block writes into `OUT.partial`, which is renamed at the end. If an empty folder OUT exists,
    it may be a link, a mounted disk or the current folder and is not replaced. Then the block
    writes into `OUT/.partial`, and the files are moved up at the end.
    """

    def __init__(self, out: str | Path):
        self.out = Path(out)
        self._place = self.out.resolve()
        if self._place.is_dir():
            self.draft = self._place / ".partial"
        else:
            self.draft = self._place.with_name(f"{self._place.name}.partial")

    def check(self) -> None:
        """Checks that the folder can be written.

        Raises:
            UserError: it is a file or not empty, or an earlier run left an unfinished folder.
        """
        if self.draft.exists():
            raise UserError(f"{self.draft} is left from an earlier run; delete it")
        if self._place.exists() and (not self._place.is_dir() or any(self._place.iterdir())):
            raise UserError(f"{self.out} is already there and not empty; name a new folder")

    def __enter__(self) -> Path:
        self.check()
        self.draft.mkdir(parents=True)  # fails if another run has just made it
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
        # Folders first: the files list the images in them.
        for path in sorted(self.draft.iterdir(), key=Path.is_file):
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
    """The lock file of a folder. It lies beside the folder, so that the folder can be moved while
    it is locked. Links are resolved, so that a folder has one lock under all its names.
    """
    real = Path(folder).resolve()
    return real.with_name(f"{real.name}.lock") if real.name else real / ".lock"


@contextlib.contextmanager
def held(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Locks a folder for the duration of the block. The lock is freed if the process is killed.

    If the file system has no locks, a warning is logged and the block runs without one.

    Args:
        folder: it need not exist and is not made.
        wait: wait for another process to free the lock, without a time limit.

    Raises:
        UserError: another process has locked the folder and does not free it within seconds.
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
        # Removed before the release, while no other process can hold it. A process that waits for
        # the removed file notices this and makes a new one.
        with contextlib.suppress(OSError):
            path.unlink()
        lock.release()
