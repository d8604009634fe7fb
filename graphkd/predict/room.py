"""Space on a disk that is kept for what is written last; what that is, others know."""

import tempfile
from pathlib import Path


class Room:
    """So many bytes of a folder's disk that nobody else gets.

    A disk that fills up is then noticed while a run can still be brought to an end in order.
    """

    def __init__(self, folder: Path, *, size: int):
        """Takes `size` bytes.

        Raises:
            OSError: the disk has no room for them; so for `grow`.
        """
        # It has no name and goes with the process.
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)
        self.grow(size)

    def grow(self, size: int) -> None:
        """Takes `size` bytes more."""
        rest = bytes(size)
        while rest:
            rest = rest[self._file.write(rest) :]

    def give_back(self) -> None:
        """Frees all of it."""
        self._file.close()
