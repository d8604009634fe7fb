"""The graph that a run's report shows: its teacher's where that is still there, else its own; the
drawing is elsewhere.
"""

from pathlib import Path

from graphkd.compare.rows import TEACHER
from graphkd.config import find_config
from graphkd.data.catalog import text_classes
from graphkd.data.layouts import text_names
from graphkd.distill.teacher import load_teacher_cfg, teacher_weights
from graphkd.engine.showcase import detected_graph, graph_view
from graphkd.engine.stored_run import StoredRun
from graphkd.errors import UserError
from graphkd.io import file_digest
from graphkd.modelfile import read_model
from graphkd.report.content import GraphView


def page_graph(
    run: StoredRun, dicts: list[dict], classes: tuple[str, ...], *, device: str
) -> tuple[GraphView | None, str]:
    """The teacher's graph of a page where the run learnt it and its teacher is still there, else
    that of the run's own detections; and a sentence on which, or on why there is none.
    """
    if not run.weights.is_file():
        return None, "There is no graph, since the weights (model_final.pth) are gone."
    page = _telling_page(dicts)
    if page is None:
        return None, "There is no graph, since no page is at hand."
    reason = ""
    if "graphkd" in run.cfg.DISTILL.LOSSES:
        try:
            view = _teacher_graph(run, page, classes, device)
        except UserError as error:
            reason = f"The teacher's graph cannot be drawn: {error}. "
        else:
            if view is not None:
                return view, (
                    f"{Path(page['file_name']).name} as the teacher sees it at regions that the "
                    "student samples: text regions that it finds alike are merged into one node."
                )
    try:
        view = _own_graph(run, page, device)
    except UserError as error:
        return None, f"{reason}There is no graph of {run.name}'s own: {error}."
    if view is None:
        return None, f"{reason}There is no graph, since {run.name} finds nothing on its page."
    return view, (
        f"{reason}{Path(page['file_name']).name} as {run.name} sees it: its own detections and "
        "features, text regions that are alike merged into one node."
    )


def _telling_page(dicts: list[dict]) -> dict | None:
    """A page with several objects of most classes, but not more than can be told apart."""
    few = [page for page in dicts if 3 <= len(page["annotations"]) <= 20] or dicts

    def variety(page: dict) -> tuple[int, int]:
        kinds = {item["category_id"] for item in page["annotations"]}
        return len(kinds), len(page["annotations"])

    return max(few, key=variety, default=None)


def _teacher_graph(
    run: StoredRun, page: dict, classes: tuple[str, ...], device: str
) -> GraphView | None:
    cfg = run.cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = device
    cfg.MODEL.WEIGHTS = ""  # all of the student comes from its own checkpoint
    cfg.DISTILL.TEACHER.WEIGHTS = str(_find_teacher(run))
    cfg.freeze()
    source = run.folder / "config.yaml"
    return graph_view(cfg, page, source=source, weights=run.weights, classes=classes)


def _find_teacher(run: StoredRun) -> Path:
    """The teacher's weights: where the config says, else beside the run as a demo leaves them.

    Raises:
        UserError: they are gone, or others are there now.
    """
    source = run.folder / "config.yaml"
    find_config(run.cfg.DISTILL.TEACHER.CONFIG, near=source)
    named = teacher_weights(run.cfg, load_teacher_cfg(run.cfg, source=source))
    beside = run.folder.parent / TEACHER / "model_final.pth"
    digest = run.record.get("teacher")
    there = [path for path in (named, beside) if path.is_file()]
    for path in there:
        if digest is None and path == named or digest == file_digest(path):
            return path
    if there and digest is not None:
        raise UserError(f"{there[0]} is not the teacher that this run had")
    raise UserError(f"its weights are not there any more ({named})")


def _own_graph(run: StoredRun, page: dict, device: str) -> GraphView | None:
    stored = read_model(run.weights, config=run.folder / "config.yaml")
    texts = text_classes(run.cfg.DATASETS.TEST[0])
    if texts is None:
        texts, _ = text_names(stored.classes)
    return detected_graph(stored, page, text_classes=texts, device=device)
