"""Finding an image below its folder by the name the json gives it; opens no image."""

import os
import unicodedata
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from graphkd.data.check.problems import Problem


class Folder:
    """Resolves file names below `root`; listings are cached, so a set is read over only once."""

    def __init__(self, root: str | Path):
        self.root = Path(root)
        self._listings: dict[Path, tuple[dict[str, str], dict[str, str]]] = {}

    def find(self, name: Any) -> tuple[Path | None, Problem | None]:
        """The file that `name` means.

        Args:
            name: "file_name" of an image in the json, relative to the root.

        Returns:
            (path, None) for a plain hit; (path, problem) where it was found under the other
            Unicode normal form; (None, problem) where the name is refused or nothing is there.

        """
        if not isinstance(name, str) or not name.strip():
            return None, Problem("no_file_name", f"file_name is {name!r}; the image is left out")
        if _leaves(name):
            return None, Problem(
                "path_outside",
                f"the file name leaves {self.root} (only names below it are read); left out",
                file=name,
            )
        try:
            path = self.root / name
            if os.path.isfile(path):
                return path, None
            relative = PurePosixPath(name)
            by_form, by_case = self._listing(self.root / relative.parent)
        except (ValueError, OSError):  # a null byte, a lone surrogate, a name too long
            return None, Problem("image_missing", "the file name is not a legal name", file=name)
        twin = by_form.get(unicodedata.normalize("NFC", relative.name))
        if twin is not None and (path.parent / twin).is_file():
            return path.parent / twin, Problem(
                "name_normal_form",
                "found under another Unicode normal form (NFC/NFD) of its name",
                file=name,
            )
        hint = by_case.get(relative.name.casefold())
        return None, Problem("image_missing", self._missing(path, hint), file=name)

    def _missing(self, path: Path, hint: str | None) -> str:
        if not self.root.is_dir():
            return f"missing: the image folder {self.root} does not exist"
        if hint is not None:
            return f"missing: {path} is not there, but {hint} is: upper and lower case differ"
        return f"missing: {path} is not there; left out"

    def _listing(self, folder: Path) -> tuple[dict[str, str], dict[str, str]]:
        if folder not in self._listings:
            names = os.listdir(folder) if folder.is_dir() else []
            self._listings[folder] = (
                {unicodedata.normalize("NFC", name): name for name in names},
                {name.casefold(): name for name in names},
            )
        return self._listings[folder]


def _leaves(name: str) -> bool:
    if not any(mark in name for mark in ("/", "\\", ":", "..")):
        return False
    if PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive or name.startswith("\\"):
        return True
    depth = 0
    for part in name.replace("\\", "/").split("/"):
        depth += {"..": -1, ".": 0, "": 0}.get(part, 1)
        if depth < 0:
            return True
    return False
