"""The kinds of problems that a data set can have, and how each is handled."""

from collections import Counter
from dataclasses import dataclass

ERROR = "error"  # the whole file is refused
SKIP = "skip"  # one page is left out
DROP = "drop"  # one box is left out
REPAIR = "repair"  # it is corrected, and nothing is lost
WARN = "warn"  # it is loaded unchanged, but the user should look at it
NOTE = "note"  # it is allowed; reports show it, but it does not count as a problem

KINDS: dict[str, tuple[str, str]] = {
    "not_coco": (ERROR, "the file is no readable COCO json"),
    "no_categories": (ERROR, "no usable class list"),
    "no_images": (ERROR, "no images are listed"),
    "not_hub": (ERROR, "the file has a line that is no page"),
    "all_ignored": (ERROR, "every line is marked `ignore`: nothing can be learned or scored"),
    "not_labels": (ERROR, "the file has no rows of name, tab and text"),
    "duplicate_image_id": (ERROR, "two images share an id"),
    "duplicate_category": (ERROR, "two classes share an id or a name"),
    "wrong_classes": (ERROR, "the classes are not those the data set is registered with"),
    "bad_id": (ERROR, "an id is not a whole number"),
    "row_malformed": (SKIP, "a row has no tab between name and text"),
    "no_file_name": (SKIP, "an image has no file name"),
    "path_outside": (SKIP, "the file name leaves the image folder"),
    "image_missing": (SKIP, "the image file is not there"),
    "image_unreadable": (SKIP, "the image file cannot be decoded"),
    "image_truncated": (SKIP, "the image file is cut off"),
    "image_too_large": (SKIP, "more pixels than the limit"),
    "size_unclear": (SKIP, "the size in the json, the boxes and the image do not fit together"),
    "box_malformed": (DROP, "the box is not four numbers"),
    "box_not_finite": (DROP, "the box holds NaN or infinity"),
    "box_degenerate": (DROP, "the box has no area"),
    "box_outside": (DROP, "the box lies off the page"),
    "unknown_category": (DROP, "the class id is not in the class list"),
    "orphan_annotation": (DROP, "the box belongs to no listed image"),
    "line_malformed": (DROP, "the outline of a line is no polygon"),
    "line_not_finite": (DROP, "the outline of a line holds NaN or infinity"),
    "line_too_small": (DROP, "a line has an area below one square pixel"),
    "line_outside": (DROP, "a line lies off the page"),
    "text_empty": (DROP, "the label of a line is empty"),
    "text_unknown": (DROP, "a label has characters that the charset lacks"),
    "text_too_long": (DROP, "a label needs more frames than its line has"),
    "text_normal_form": (REPAIR, "a label is not in the Unicode form NFC"),
    "line_clipped": (REPAIR, "a line reached over the page and was cut"),
    "line_crossing": (REPAIR, "the outline of a line crossed itself"),
    "box_clipped": (REPAIR, "the box reached over the page and was cut"),
    "duplicate_annotation_id": (REPAIR, "two boxes share an id"),
    "missing_annotation_id": (REPAIR, "a box has no id"),
    "numbers_as_strings": (REPAIR, "numbers are written as strings"),
    "size_absent": (REPAIR, "width or height is missing in the json"),
    "size_swapped": (REPAIR, "width and height are swapped in the json"),
    "size_scaled": (REPAIR, "the json describes another resolution"),
    "normalised_boxes": (REPAIR, "boxes are fractions of the page"),
    "name_normal_form": (REPAIR, "the name's Unicode form differs from the disk's"),
    "same_file_twice": (WARN, "one page is listed twice"),
    "no_annotations": (WARN, "there is no box to learn from"),
    "most_too_small": (WARN, "most lines are too small to be trained on"),
    "line_squeezed": (WARN, "a line is longer than 64 times its height and will be squeezed"),
    "line_upright": (WARN, "a line is higher than wide, as if it was not turned"),
    "other_split": (WARN, "the same picture is in another split"),
    "boxes_look_like_corners": (WARN, "boxes look like x1,y1,x2,y2, not x,y,width,height"),
    "similar_classes": (WARN, "class names differ only in case or outer blanks"),
    "several_frames": (WARN, "the file holds several pages; the first is used"),
    "exif_rotation": (NOTE, "the image is stored rotated; it is turned as the json expects it"),
    "unusual_pixels": (NOTE, "transparency, 16 bit or CMYK; converted on reading"),
    "wrong_extension": (NOTE, "the content is of another format than the name says"),
    "empty_page": (NOTE, "a page without boxes"),
    "unusable_mask": (NOTE, "the polygon is unusable; the box is kept"),
    "line_orientation": (NOTE, "the points of a line run anticlockwise"),
    "crowd": (NOTE, "a crowd box: not trained on, ignored in scoring"),
    "duplicate_box": (NOTE, "the same box is given twice with the same class"),
    "category_id_gaps": (NOTE, "class ids are not 1..K; they are mapped"),
}


@dataclass(frozen=True)
class Problem:
    """One finding; `file` is the name of the image in the json, the ids are those of the json."""

    kind: str
    message: str
    file: str | None = None
    image_id: int | None = None
    annotation_id: int | None = None

    @property
    def level(self) -> str:
        """One of error, skip, drop, repair, warn, note."""
        return KINDS[self.kind][0]

    def line(self) -> str:
        """The finding in one line, with its place and what is left out."""
        lost = {SKIP: "; left out", DROP: "; dropped"}.get(self.level, "")
        return self.place_and_message + lost

    @property
    def place_and_message(self) -> str:
        """The finding in one line with its place."""
        where = []
        if self.file is not None:
            where.append(str(self.file))
        if self.image_id is not None and self.file is None:
            where.append(f"image {self.image_id}")
        if self.annotation_id is not None:
            what = "line" if self.kind.startswith("line_") else "annotation"
            where.append(f"{what} {self.annotation_id}")
        text = f"{', '.join(where)}: {self.message}" if where else self.message
        return "".join(c if c.isprintable() else "?" for c in text)


def count_by_kind(problems: list[Problem]) -> dict[str, int]:
    """Number of findings by kind, in the order of `KINDS`; kinds without findings are left out."""
    counts = Counter(problem.kind for problem in problems)
    return {kind: counts[kind] for kind in KINDS if counts[kind]}
