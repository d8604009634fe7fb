"""Folders of generated lines: pictures, their texts, and a record of how each was made."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import PIL
from PIL import Image
from tqdm import tqdm

from graphkd.errors import UserError
from graphkd.synthesis.faces import faces
from graphkd.synthesis.lines import clusters, make_line
from graphkd.synthesis.making import mapper, new_folder
from graphkd.synthesis.texts import LATIN

LINES_VERSION = 1  # raise it whenever the same seed gives other lines
TSV = "lines.tsv"
RECORD = "record.jsonl"


@dataclass(frozen=True)
class LineSplit:
    """How many lines of which seed."""

    lines: int
    seed: int


def line_info(plan: LineSplit) -> dict[str, Any]:
    """What a folder holds. Fonts are not part of it: a new font makes no folder anew."""
    return {
        "description": "generated text lines",
        "generator": "graphkd lines",
        "version": LINES_VERSION,
        "lines": plan.lines,
        "seed": plan.seed,
    }


def generate_lines(
    folder: Path,
    *,
    lines: int,
    seed: int,
    characters: Iterable[str] = LATIN,
    texts: Iterable[str] = (),
    workers: int | None = None,
    progress: bool = True,
) -> None:
    """Writes generated lines with their texts into a new folder.

    The folder holds `000000.jpg ...`; `lines.tsv`, a row `name <tab> text` a line; `charset.txt`,
    an entry a row; `record.jsonl`, a row a line with its kind, face, baseline and character boxes;
    and `info.json` with the faces, the digests of their files, the version of Pillow, and the
    entries of the charset that no face has.

    Args:
        folder: must not exist, or be empty.
        lines: how many, from index 0; at least 1.
        seed: the series; see `make_line`.
        characters: the entries of the charset.
        texts: lines of text to draw instead of generated ones.
        workers: processes; None for one per core. The lines do not depend on it.
        progress: show a progress bar.

    Raises:
        UserError: the folder is not empty, or an argument is out of range.
    """
    if lines < 1 or seed < 0:
        raise UserError(f"cannot generate lines={lines} seed={seed}: need lines >= 1, seed >= 0")
    entries, texts = tuple(characters), tuple(filter(None, map(str.strip, texts)))
    with new_folder(Path(folder)) as making:
        write = partial(_write, making, seed, entries, texts)
        faces()  # read once, before workers are forked
        with mapper(lines, workers, chunk=32) as run:
            bar = tqdm(run(write, range(lines)), total=lines, unit="line", disable=not progress)
            records = list(bar)
        used = Counter(part for record in records for part in clusters(record["text"]))
        info = {
            "info": line_info(LineSplit(lines, seed)),
            "pillow": PIL.__version__,
            "faces": {face.name: face.digest for face in faces()},
            "not drawn": [entry for entry in entries if not used[entry]],
        }
        rows = (f"{record['name']}\t{record['text']}\n" for record in records)
        files = {
            TSV: "".join(rows),
            RECORD: "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records),
            "charset.txt": "".join(f"{entry}\n" for entry in entries),
            "info.json": json.dumps(info, ensure_ascii=False, indent=1),
        }
        for name, content in files.items():
            (making / name).write_text(content, encoding="utf-8")


def _write(
    folder: Path, seed: int, entries: tuple[str, ...], texts: tuple[str, ...], index: int
) -> dict[str, Any]:
    """Makes one line and writes its picture; returns its row of the record."""
    line = make_line(seed, index, characters=entries, texts=texts)
    name = f"{index:06d}.jpg"
    Image.fromarray(line.image).save(folder / name, quality=line.quality)
    return {
        "name": name,
        "text": line.text,
        "kind": line.kind,
        "face": line.face,
        "baseline": line.baseline,
        "boxes": line.boxes,
    }
