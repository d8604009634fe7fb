"""Scores of one-stage text detectors as box detectors: COCO AP, precision and recall of upright
boxes.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from graphkd.evaluation.coco import coco_ap, result_rows
from graphkd.evaluation.hmean import Overlaps
from graphkd.evaluation.matching import best_thresholds, count_pairs

# Best detections of a page that count. COCO's 100 are fewer than a page has lines.
MOST_DETECTIONS = 300


def upright_boxes(pages: Sequence[Overlaps]) -> dict[str, float | None]:
    """COCO AP of the upright boxes of polygons, and precision and recall at the best F1.

    Ignored texts are crowd regions: detections in them do not count.

    Args:
        pages: from `graphkd.evaluation.hmean.measure`, with all detections down to a score of
            almost 0.

    Returns:
        `AP` (mean over IoU 0.50 to 0.95), `AP50`, and `box_precision` and `box_recall` at IoU 0.5,
        at the score where F1 is best on these pages: an upper bound. All in 0..100, None where
        there is no text.
    """
    annotations, results = [], []
    for number, page in enumerate(pages):
        for box, ignore in zip(page.truth_box, page.ignore, strict=True):
            sides = [*box[:2].tolist(), *(box[2:] - box[:2]).tolist()]
            place = {"image_id": number, "category_id": 0, "id": len(annotations) + 1}
            annotations.append({**place, "bbox": sides, "iscrowd": int(ignore)})
        classes = np.zeros(len(page.scores), dtype=np.int64)
        results += result_rows(number, page.found_box, page.scores, classes)
    truth = {
        "images": [{"id": number} for number in range(len(pages))],
        "annotations": annotations,
        "categories": [{"id": 0, "name": "text"}],
    }
    numbers = coco_ap(truth, results, most=MOST_DETECTIONS)
    limit = best_thresholds(truth, results)["text"]
    texts, shown = defaultdict(list), defaultdict(list)
    for text in annotations:
        texts[text["image_id"]].append(text)
    for result in results:
        if result["score"] >= limit:
            shown[result["image_id"]].append(result)
    counts = [count_pairs(texts[number], shown[number]) for number in range(len(pages))]
    objects, found, right = (sum(c[key] for c in counts) for key in ("objects", "found", "right"))
    return {
        "AP": numbers["AP"],
        "AP50": numbers["AP50"],
        "box_precision": 100 * right / max(found, 1) if objects else None,
        "box_recall": 100 * right / objects if objects else None,
    }
