"""Predictions are judged as by hand; the worst pages come first."""

import pytest
from PIL import Image

from graphkd.errors import UserError
from graphkd.report.confusion import box_sections
from tests.report.reading import Reader


def pages(tmp_path) -> list[dict]:
    """Three pages with a text and a figure; the second is also a crowd."""
    found = []
    for number in range(3):
        path = tmp_path / f"page{number}.png"
        Image.new("RGB", (100, 100), "white").save(path)
        boxes = [([10, 10, 40, 40], 0, 0), ([60, 60, 30, 30], 1, 0)]
        boxes += [([0, 60, 30, 40], 0, 1)] if number == 1 else []
        found.append(
            {
                "file_name": str(path),
                "image_id": f"p{number}",
                "width": 100,
                "height": 100,
                "annotations": [
                    {"bbox": box, "bbox_mode": 1, "category_id": label, "iscrowd": crowd}
                    for box, label, crowd in boxes
                ],
            }
        )
    return found


def row(page, label, box, score=0.9):
    return {"image_id": page, "category_id": label, "bbox": box, "score": score}


def test_the_pages_with_the_lowest_f1_come_first(tmp_path):
    text, figure = [10, 10, 40, 40], [60, 60, 30, 30]
    good = [row(f"p{i}", k, b) for i in range(3) for k, b in enumerate((text, figure))]
    # Page 1: one of two, and one in the crowd that is no error. Page 2: a figure called text, which
    # is worse; a prediction of low score does not count.
    poor = [good[0], good[1], good[2], row("p1", 0, [2, 70, 10, 10]), row("p2", 0, figure)]
    poor.append(row("p2", 0, text, score=0.2))
    predictions = {"good": good, "poor": poor}
    arguments = {"score": 0.5, "count": 2}
    sections, notes = box_sections(predictions, pages(tmp_path), ["text", "figure"], **arguments)
    assert [section.id for section in sections] == ["confusion", "pages"] and notes == []
    body = str(sections[1].body)
    assert "The 2 of 3 pages with the lowest F1 of poor" in body
    assert body.index("page2.png · F1 good 1.00, poor 0.00") < body.index(
        "page1.png · F1 good 1.00, poor 0.67"
    )
    cells = [a["title"] for tag, a in Reader(str(sections[0].body)).tags if a.get("title")]
    assert cells == [
        *("3 of 3 text were found", "3 of 3 figure were found", "2 of 3 text were found"),
        *("1 of 3 text were not found", "1 of 3 figure were predicted as text"),
        *("1 of 3 figure were found", "1 of 3 figure were not found"),
    ]
    sections, _ = box_sections(
        predictions, pages(tmp_path), ["text", "figure"], score=0.5, count=1, worst=False
    )
    assert sections[1].title == "Pages" and "page1.png" in str(sections[1].body)


def test_lost_pages_are_told_once_and_foreign_predictions_are_refused(tmp_path):
    dicts = pages(tmp_path)
    for page in dicts[:2]:
        (tmp_path / page["file_name"]).unlink()
    predictions = {"m": [row("p0", 0, [10, 10, 40, 40])]}
    arguments = {"score": 0.5, "count": 9}
    sections, notes = box_sections(predictions, dicts, ["text", "figure"], **arguments)
    assert len(notes) == 1 and "A page cannot be shown" in notes[0]
    assert "The 1 of 3 pages" in str(sections[1].body)
    for wrong in (row("p9", 0, [1, 1, 2, 2]), row("p0", 2, [1, 1, 2, 2])):
        with pytest.raises(UserError, match="predictions of m are not for the 3 pages and 2 cl"):
            box_sections({"m": [wrong]}, dicts, ["text", "figure"], **arguments)
