"""Stored predictions against ground truth, page by page: matrices and the worst pages of some runs;
no model is run and nothing is drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from detectron2.data import DatasetCatalog
from detectron2.structures import BoxMode

from graphkd.data.catalog import classes_of, entry_of, register_all
from graphkd.data.mapper import read_for
from graphkd.engine.stored_run import StoredRun
from graphkd.errors import UserError
from graphkd.evaluation.matching import MIN_IOU, confusion, f1, inside, pair_boxes
from graphkd.report.content import Boxes, Details, PageView


@dataclass(frozen=True)
class _Found:
    """One model's predictions on one page against its objects.

    Attributes:
        boxes: (n, 4) x1 y1 x2 y2 in pixels, (n,) scores and (n,) class numbers beside them.
        scores: see boxes.
        classes: see boxes.
        pairs: (p, 2) rows (object, prediction).
        counts: (K + 1, K + 1) of this page.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    pairs: np.ndarray
    counts: np.ndarray


def load_pages(name: str) -> tuple[list[dict], tuple[str, ...]]:
    """Data set dicts and class names of a registered set, if it is on this machine.

    Generated pages are not made for it.

    Raises:
        UserError: the set is unknown, not on this machine or unusable.
    """
    register_all()
    entry = entry_of(name)
    if name not in DatasetCatalog:
        raise UserError(f"the data set {name} is not known on this machine")
    if entry is not None and not Path(entry.json_file).is_file():
        raise UserError(f"the data set {name} is not on this machine ({entry.json_file})")
    try:
        return DatasetCatalog.get(name), classes_of(name)
    except OSError as error:
        raise UserError(f"the data set {name} cannot be read ({error})") from error


def page_details(
    runs: Sequence[StoredRun],
    dicts: list[dict],
    classes: tuple[str, ...],
    *,
    ranked_by: StoredRun,
    score: float,
    count: int,
) -> tuple[Details, list[str]]:
    """Matrices of some runs, and the pages on which one of them does worst.

    Args:
        runs: with predictions on the same pages, in the order to show.
        dicts: data set dicts of these pages.
        classes: class names.
        ranked_by: the run whose F1 ranks the pages, lowest first; of equals the page with more
            errors.
        score: predictions below it are left out.
        count: of pages to show.

    Returns:
        The details, and a sentence for each page that could not be read.

    Raises:
        UserError: predictions of a page or class that the data does not have.
    """
    found = {run.name: _judge(run, dicts, len(classes), score=score) for run in runs}
    ranking = found[ranked_by.name]
    worst = sorted(
        (page for page in dicts if f1(ranking[page["image_id"]].counts) is not None),
        key=lambda page: _badness(ranking[page["image_id"]].counts),
    )
    pages, notes = [], []
    for page in worst:
        if len(pages) >= count:
            break
        try:
            image = read_for(page, format="RGB")
        except UserError as error:
            if not notes:  # one lost page tells of its likes
                notes.append(f"A page cannot be shown: {error}.")
            continue
        pages.append(_page_view(page, image, runs, found, classes, ranked_by))
    nothing = np.zeros((len(classes) + 1,) * 2, dtype=np.int64)
    details = Details(
        classes=classes,
        score=score,
        matrices={
            run.name: sum((one.counts for one in found[run.name].values()), nothing) for run in runs
        },
        pages=pages,
        ranking=f"The {len(pages)} of {len(worst)} pages with the lowest F1 of {ranked_by.name} "
        f"at IoU {MIN_IOU} and score {score:g}, worst first.",
    )
    return details, notes


def _badness(counts: np.ndarray) -> tuple[float, int]:
    errors = int(counts.sum() - np.trace(counts))
    return f1(counts), -errors


def _judge(run: StoredRun, dicts: list[dict], num_classes: int, *, score: float) -> dict:
    """Page id -> what the run found there."""
    by_page: dict = {page["image_id"]: [] for page in dicts}
    for row in run.predictions:
        if row["image_id"] not in by_page or not 0 <= row["category_id"] < num_classes:
            raise UserError(
                f"{run.folder}: its predictions are not for the {len(dicts)} pages and "
                f"{num_classes} classes of {run.test_set} on this machine"
            )
        if row["score"] >= score:
            by_page[row["image_id"]].append(row)
    return {page["image_id"]: _judge_page(page, by_page, num_classes) for page in dicts}


def _judge_page(page: dict, by_page: dict, num_classes: int) -> _Found:
    rows = by_page[page["image_id"]]
    boxes = np.array([row["bbox"] for row in rows], dtype=float).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    scores = np.array([row["score"] for row in rows])
    classes = np.array([row["category_id"] for row in rows], dtype=int)
    truth, labels, crowd = objects(page)
    pairs = pair_boxes(truth, labels, boxes, classes)
    free = ~np.isin(np.arange(len(rows)), pairs[:, 1]) & inside(boxes, crowd)
    if free.any():
        boxes, scores, classes = boxes[~free], scores[~free], classes[~free]
        pairs = pair_boxes(truth, labels, boxes, classes)
    counts = confusion(labels, classes, pairs, num_classes=num_classes)
    return _Found(boxes, scores, classes, pairs, counts)


def objects(page: dict) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Objects of a data set dict: (m, 4) x1 y1 x2 y2, (m,) class numbers, and (c, 4) crowds."""
    boxes, labels, crowd = [], [], []
    for item in page.get("annotations", ()):
        box = BoxMode.convert(list(item["bbox"]), item["bbox_mode"], BoxMode.XYXY_ABS)
        if item.get("iscrowd"):
            crowd.append(box)
        else:
            boxes.append(box)
            labels.append(item["category_id"])
    return (
        np.array(boxes, dtype=float).reshape(-1, 4),
        np.array(labels, dtype=int),
        np.array(crowd, dtype=float).reshape(-1, 4),
    )


def _page_view(page, image, runs, found, classes, ranked_by) -> PageView:
    truth, labels, _ = objects(page)
    own = found[ranked_by.name][page["image_id"]]
    hit = np.isin(np.arange(len(truth)), own.pairs[:, 0])
    return PageView(
        image=image,
        title=_title(page, runs, found),
        truth=Boxes(truth, [classes[k] for k in labels], None, hit.tolist()),
        predictions={
            run.name: _predictions(found[run.name][page["image_id"]], classes) for run in runs
        },
    )


def _title(page: dict, runs: Sequence[StoredRun], found: dict) -> str:
    scores = [f1(found[run.name][page["image_id"]].counts) for run in runs]
    texts = ["–" if value is None else f"{value:.2f}" for value in scores]
    if len(runs) > 1:
        texts = [f"{run.name} {text}" for run, text in zip(runs, texts, strict=True)]
    return f"{Path(page['file_name']).name} · F1 {', '.join(texts)}"


def _predictions(found: _Found, classes: tuple[str, ...]) -> Boxes:
    paired = np.isin(np.arange(len(found.boxes)), found.pairs[:, 1])
    names = [classes[k] for k in found.classes]
    return Boxes(found.boxes, names, found.scores.tolist(), paired.tolist())
