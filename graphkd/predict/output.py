"""The results of prediction: pages in every format, COCO files, drawn pictures, the record."""

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from graphkd.document import Page
from graphkd.errors import UserError
from graphkd.formats import PAGE_FORMATS
from graphkd.formats.coco_json import CocoWriter
from graphkd.io import replacing, write_text
from graphkd.predict.documents import RawPage
from graphkd.predict.folder import Kind, Names, Results
from graphkd.report.content import Boxes
from graphkd.report.pictures import class_colours, draw_lines, draw_predictions

LINES = "lines.tsv"
FORMATS = ("json", "coco", "page", "alto", "hocr", "tsv")
_PICTURES = "pictures"
_COCO = ("coco.json", "coco_results.json")
# Of lines.tsv, so that a row is a line and a tab ends a field.
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
KIND = Kind(
    "predict.json",
    files=(*_COCO, LINES),
    folders={form.folder: form.ending for form in PAGE_FORMATS.values()} | {_PICTURES: ".jpg"},
)


class Output(Results):
    """The results of one run in one folder.

    The files of a page are complete on the disk before the next page is processed. The COCO files
    are written at the end.
    """

    def __init__(
        self,
        folder: Path,
        *,
        formats: Sequence[str],
        classes: Sequence[str],
        draw: bool,
        record: Mapping[str, Any],
        inputs: Sequence[Path] = (),
    ):
        """`inputs` are what the user named; in `lines.tsv`, names are relative to its folders."""
        self._inputs = [path for path in inputs if path.is_dir()]
        self._formats = [PAGE_FORMATS[name] for name in formats if name in PAGE_FORMATS]
        self._draw = draw
        self._names = Names()
        self._classes = tuple(classes)
        self._coco = None
        self._lines = folder / LINES if "tsv" in formats else None
        files = [*(_COCO if "coco" in formats else ()), *([LINES] if self._lines else ())]
        super().__init__(folder, KIND, files=files, record=record)
        with self.explained():
            if "coco" in formats:
                self._coco = CocoWriter(folder, classes, reserve=self.space.grow)
            if self._lines is not None:
                write_text(self._lines, "")

    def add(self, raw: RawPage, page: Page) -> None:
        """Writes one page in every chosen format."""
        name = self._names.take(raw.source, raw.number, raw.pages)
        with self.explained():
            places = [(form.folder, form.ending) for form in self._formats]
            places += [(_PICTURES, ".jpg")] * self._draw
            files = [f"{inside}/{name}{ending}" for inside, ending in places]
            self.announce(files)
            for form, file in zip(self._formats, files, strict=False):
                write_text(self.folder / file, form.text(page))
            if self._draw:
                self._write_picture(raw, page, self.folder / files[-1])
            several = raw.pages > 1 or raw.number > 1
            if self._coco is not None:
                self._coco.add(page, name, several=several)
            if self._lines is not None:
                with self._lines.open("a", encoding="utf-8", newline="") as stream:
                    stream.writelines(self._rows(page, several=several))
        self.pages += 1
        self.regions += len(page.regions)
        self.lines += sum(len(region.lines) for region in page.regions)

    def _rows(self, page: Page, *, several: bool) -> Iterator[str]:
        """The rows of a page in `lines.tsv`: name, text and score of every line."""
        name = page.source
        for folder in self._inputs:
            if PurePath(name).is_relative_to(folder):
                name = PurePath(name).relative_to(folder).as_posix()
                break
        name += f"#page={page.number}" if several else ""
        for line in (line for region in page.regions for line in region.lines):
            fields = (name, line.text, f"{line.confidence:.4f}")
            yield "\t".join(field.translate(_ESCAPES) for field in fields) + "\n"

    def finish(self) -> None:
        """Writes the COCO files."""
        if self._coco is not None:
            self._coco.finish()
            self._coco.close()

    def _write_picture(self, raw: RawPage, page: Page, path: Path) -> None:
        regions = [region for region in page.regions if region.found_by == "layout"]
        boxes = Boxes(
            np.array([region.box for region in regions]),
            [region.label for region in regions],
            [region.score for region in regions],
        )
        picture = draw_predictions(raw.pixels, boxes, colours=class_colours(self._classes))
        lines = [line.polygon for region in page.regions for line in region.lines]
        draw_lines(picture, lines, colour=class_colours(["text"])["text"])
        path.parent.mkdir(exist_ok=True)
        content = io.BytesIO()
        picture.save(content, "JPEG", quality=88, subsampling=0)  # thin lines keep their colour
        # Not by Pillow, which would report a full disk as a damaged stream.
        with replacing(path) as stream:
            stream.write(content.getbuffer())


def choose_formats(text: str | None, *, task: str | None = None) -> tuple[str, ...]:
    """The formats that the user named, else those of a task.

    Args:
        text: names with commas; None for the default.
        task: of the model; None if it is not loaded yet.

    Raises:
        UserError: an unknown name, or one that the task has nothing for.
    """
    reads = task == "text_recognition"
    if text is None:
        return ("tsv",) if reads else ("json", "coco")
    formats = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    unknown = [part for part in formats if part not in FORMATS]
    if unknown:
        raise UserError(f"--format {unknown[0]!r}: choose from {', '.join(FORMATS)}")
    wrong = {"coco"} if reads else {"tsv"}
    if task is not None and wrong & set(formats):
        raise UserError(
            "--format coco is for detectors; a text recogniser writes tsv, json and page"
            if reads
            else "--format tsv is for text recognisers; a detector writes json, coco and page"
        )
    return formats
