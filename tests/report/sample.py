"""Generated pages, predictions, logs and a graph that look like those of a real run."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from graphkd.report.content import Boxes, Example, GraphView
from graphkd.report.page import Section, matrix_section, page_section
from graphkd.report.stored import StoredRun
from graphkd.tasks.base import task_named
from graphkd.tasks.layout_report import graph_section

METRICS = task_named("layout").columns
CLASSES = ["text", "title", "figure", "table", "caption"]
# A page of 600 x 800: class, x1, y1, x2, y2.
BLOCKS = [
    ("title", 60, 50, 540, 90),
    ("text", 60, 110, 290, 300),
    ("text", 60, 310, 290, 420),
    ("figure", 310, 110, 540, 330),
    ("caption", 310, 340, 540, 372),
    ("text", 310, 392, 540, 560),
    ("table", 60, 450, 290, 600),
    ("text", 60, 625, 290, 750),
    ("text", 310, 580, 540, 750),
]


def page_image(seed: int) -> np.ndarray:
    """Draw lines of grey bars for text, a gradient for the figure, a grid for the table."""
    draw = np.random.default_rng(seed)
    page = Image.new("RGB", (600, 800), (250, 247, 240))
    pen = ImageDraw.Draw(page)
    for name, x1, y1, x2, y2 in BLOCKS:
        if name == "figure":
            for y in range(y1, y2):
                shade = 90 + (y - y1) // 2
                pen.line((x1, y, x2, y), fill=(shade, shade, 160))
        elif name == "table":
            for y in range(y1, y2 + 1, 25):
                pen.line((x1, y, x2, y), fill=(60, 60, 60))
            for x in range(x1, x2 + 1, 46):
                pen.line((x, y1, x, y2), fill=(60, 60, 60))
        else:
            step = 30 if name == "title" else 11
            for y in range(y1 + 2, y2 - step // 2, step):
                end = x2 - int(draw.integers(0, 25))
                pen.rectangle((x1, y, end, y + step // 2), fill=(70, 68, 64))
    return np.asarray(page).copy()


def truth() -> Boxes:
    return Boxes(np.array([b[1:] for b in BLOCKS], float), [b[0] for b in BLOCKS])


def guess(seed: int, *, noise: float, drop: float, extra: int) -> Boxes:
    """The truth with noise on its corners, some boxes missing and some invented."""
    draw = np.random.default_rng(seed)
    boxes, classes, scores = [], [], []
    for name, *box in BLOCKS:
        if draw.random() < drop:
            continue
        boxes.append(np.array(box) + draw.normal(0, noise, 4))
        classes.append(name if draw.random() > drop / 2 else "text")
        scores.append(float(draw.uniform(0.55, 0.99)))
    for _ in range(extra):
        x, y = draw.uniform(40, 450), draw.uniform(40, 650)
        boxes.append(np.array([x, y, x + 120, y + 60]))
        classes.append(str(draw.choice(CLASSES)))
        scores.append(float(draw.uniform(0.3, 0.6)))
    return Boxes(np.array(boxes).reshape(-1, 4), classes, scores)


def pages(count: int = 2) -> list[Example]:
    return [
        Example(
            page_image(i),
            f"generated page {i + 1}",
            truth(),
            {
                "Teacher": guess(10 + i, noise=2, drop=0.0, extra=0),
                "Student": guess(20 + i, noise=9, drop=0.35, extra=3),
                "Distilled": guess(30 + i, noise=5, drop=0.12, extra=1),
            },
        )
        for i in range(count)
    ]


def graph() -> GraphView:
    """Two merged text groups, single nodes of other kinds, and six background regions."""
    draw = np.random.default_rng(0)
    boxes, types, groups, classes = [], [], [], []
    group_of = {1: 100, 2: 100, 5: 101, 8: 101, 7: 102}
    for i, (name, *box) in enumerate(BLOCKS):
        for _ in range(2 if i in (2, 7) else 1):
            boxes.append(np.array(box) + draw.normal(0, 3, 4))
            types.append("nontext" if name in ("figure", "table") else "text")
            groups.append(group_of.get(i, i))
            classes.append(name)
    for i in range(6):
        x, y = draw.uniform(10, 450), draw.uniform(10, 700)
        boxes.append(np.array([x, y, x + draw.uniform(40, 140), y + draw.uniform(30, 90)]))
        types.append("background")
        groups.append(200 + i)
        classes.append("background")
    ids = list(dict.fromkeys(groups))
    assignment = np.array([[group == g for g in groups] for group in ids], float)
    assignment /= assignment.sum(1, keepdims=True)
    features = draw.normal(0, 0.6, (len(ids), 16))
    for row, group in enumerate(ids):
        kind = types[groups.index(group)]
        features[row, {"text": 0, "nontext": 1, "background": 2}[kind]] += 2
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    edges = features @ features.T
    return GraphView(page_image(0), np.array(boxes), types, groups, edges, assignment, classes)


def rows() -> list[dict]:
    base = {"AP50": 60.0, "AP75": 30.0, "seconds": 251.2}
    return [
        {
            **base,
            "role": "teacher",
            "method": "none",
            "params": 41_300_000,
            "AP": 55.72,
            "weights": "output/teacher/model_final.pth",
        },
        {
            **base,
            "role": "student",
            "method": "none",
            "params": 9_870_000,
            "AP": 31.24,
            "weights": "output/plain/model_final.pth",
        },
        {
            **base,
            "role": "distilled",
            "method": "graphkd",
            "params": 9_870_000,
            "AP": 37.81,
            "weights": "output/graphkd/model_final.pth",
        },
    ]


def curves() -> dict[str, list[dict]]:
    draw = np.random.default_rng(1)
    runs: dict[str, list[dict]] = {}
    for run, best in (("teacher", 56), ("student", 31), ("distilled", 38)):
        lines = []
        for iteration in range(0, 3001, 20):
            decay = np.exp(-iteration / 700)
            own = 0.5 + 2.2 * decay + draw.normal(0, 0.06)
            row = {"iteration": iteration, "total_loss": own, "loss_cls": own / 2}
            if run == "distilled":
                ramp = min(1, iteration / 500)
                terms = {
                    "graphkd_text": 0.2 * ramp * (0.4 + decay),
                    "graphkd_nontext": 0.35 * ramp * (0.4 + decay),
                    "graphkd_edge": 0.25 * ramp * (0.5 + decay),
                    "logits_kl": 0.3 * ramp * (0.3 + decay),
                }
                row["total_loss"] = own + sum(terms.values())
                row |= {f"loss_kd_{key}": value for key, value in terms.items()}
                row |= {f"kd_share/{k}": v / row["total_loss"] for k, v in terms.items()}
            if iteration and iteration % 500 == 0:
                row["eval/AP"] = best * (1 - np.exp(-iteration / 900)) + draw.normal(0, 0.5)
            lines.append({key: float(v) if key != "iteration" else v for key, v in row.items()})
        runs[run] = lines
    return runs


SCORES = {
    **{"AP": 37.81, "AP50": 60.0, "AP75": 30.0, "APs": None, "APm": 11.5, "APl": 41.0},
    **{"AR100": 47.0, "items": 134},
    "per_class": {"text": 62.3, "title": 32.7, "figure": None, "table": 45.4, "caption": 9.1},
}


def stored_run(name: str = "distilled", *, scores: dict | None = None, **changes) -> StoredRun:
    """A finished run as it is read from its folder; `scores` change its own."""
    losses = {"graphkd": {"WEIGHT": 2.0}} if name == "distilled" else {}
    cfg = {
        "SEED": 7,
        "DATASETS": {"TRAIN": ["letters_train"], "TEST": ["letters_test"]},
        "SOLVER": {"MAX_ITER": 3000, "IMS_PER_BATCH": 4, "BASE_LR": 0.01},
        "DISTILL": {"LOSSES": losses, "TEACHER": {"CONFIG": "teachers/R50.yaml"}},
    }
    result = {"scores": {**SCORES, **(scores or {})}, "parameters": 9_870_000, "seconds": 251.2}
    values = {"cfg": cfg, "result": result, "curves": curves()[name], **changes}
    return StoredRun(name, Path("output") / name, **values)


def sections(classes=tuple(CLASSES), name: str = "distilled") -> list[Section]:
    """Confusion, two worst pages and a graph."""
    counts = np.zeros((6, 6), int)
    counts[0, 0], counts[0, 3], counts[3, 5], counts[5, 0] = 41, 7, 13, 19
    objects = Boxes(
        [[60, 50, 540, 90], [60, 110, 290, 300]], list(classes[:2]), None, [True, False]
    )
    found = Boxes([[61, 52, 538, 91]], [classes[0]], [0.87], [True])
    page = Example(page_image(0), f"{name}.jpg · F1 0.67", objects, {name: found})
    return [
        matrix_section({name: counts}, classes, score=0.4),
        page_section([page, page], classes, ranking="The 2 of 30 worst pages."),
        graph_section(graph(), "page.jpg as the teacher sees it."),
    ]
