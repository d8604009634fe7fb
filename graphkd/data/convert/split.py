"""Divides pages into train, val and test, by whole groups of pages."""

import hashlib
import math
import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from graphkd.errors import UserError


def parse_shares(text: str) -> dict[str, float]:
    """Reads "80,20" or "70,15,15" as shares of train, val (and test) with the sum 1.

    Raises:
        UserError: the text is not two or three positive numbers.
    """
    try:
        parts = [float(part) for part in text.split(",")]
    except ValueError:
        parts = []
    if len(parts) not in (2, 3) or not all(0 < part < math.inf for part in parts):
        raise UserError(f"--split {text}: give two or three positive numbers, such as 80,20")
    names = ("train", "val", "test")
    return {name: part / sum(parts) for name, part in zip(names, parts, strict=False)}


def group_of(name: str, rule: str) -> str:
    """The group of a page. All pages of a group come into the same split.

    Args:
        name: the relative file name of the page, with "/".
        rule: "page" (each page is a group), "folder", or a regular expression. Its first group (or
            whole match) in the file name is the group; without a match the page is a group.

    Raises:
        UserError: the rule is no regular expression.
    """
    if rule == "page":
        return name
    if rule == "folder":
        return PurePosixPath(name).parent.as_posix()
    try:
        match = re.search(rule, name)
    except re.error as error:
        raise UserError(f"--group {rule}: not a regular expression ({error})") from None
    if match is None:
        return name
    return match.group(1) if match.groups() else match.group(0)


def split_names(
    names: Sequence[str], shares: dict[str, float], *, rule: str = "page", seed: int = 0
) -> dict[str, list[str]]:
    """Assigns names to splits; equal names, shares and seeds give equal splits.

    Groups are sorted by a hash of their name and the seed. Then each group is added to the split
    that lacks most of its share.

    Raises:
        UserError: there are fewer groups than splits.
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(group_of(name, rule), []).append(name)
    if len(groups) < len(shares):
        raise UserError(
            f"{len(groups)} groups of pages cannot be divided into {len(shares)} splits; "
            "use another --group or no --split"
        )

    def key(group: str) -> str:
        return hashlib.sha256(f"{seed}/{group}".encode("utf-8", "replace")).hexdigest()

    result: dict[str, list[str]] = {split: [] for split in shares}
    for group in sorted(groups, key=key):
        empty = [split for split in shares if not result[split]]
        target = max(
            empty or shares,
            key=lambda split: shares[split] - len(result[split]) / len(names),
        )
        result[target].extend(groups[group])
    return {split: sorted(found) for split, found in result.items()}
