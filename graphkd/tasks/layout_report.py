"""The report sections of a layout run: confusion matrix, pages, and a document graph."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.utils.events import EventStorage
from torch import Tensor, nn

from graphkd.config import find_config, load_cfg
from graphkd.data.catalog import classes_of, entry_of, register_all, text_classes
from graphkd.data.layouts import text_names
from graphkd.data.mapper import PageMapper, read_for
from graphkd.distill.graph.edges import cosine_affinity
from graphkd.distill.graph.nodes import (
    NONTEXT,
    TEXT,
    TYPE_NAMES,
    InstanceGraph,
    describe,
    plan_nodes,
    pool_edges,
)
from graphkd.distill.run_teacher import load_teacher_cfg, teacher_weights
from graphkd.engine.build import build_models
from graphkd.errors import UserError
from graphkd.io import file_digest
from graphkd.modelfile import ModelFile, build_detector, read_model
from graphkd.report.confusion import box_sections
from graphkd.report.content import GraphView
from graphkd.report.graph import STRONGEST, graph_picture, graph_svg
from graphkd.report.page import Section, fill
from graphkd.report.stored import Options, StoredRun, item_sections, read_json
from graphkd.views import view_of

SHOWN_SCORE = 0.5


def layout_sections(
    runs: Sequence[StoredRun], options: Options, *, say: Callable[[str], None]
) -> tuple[list[Section], list[str]]:
    """The sections of a layout report; see `graphkd.tasks.base.Task.report_sections`."""
    main = runs[-1]
    sections: list[Section] = []
    try:
        dicts, classes = load_pages(main)
    except UserError as error:
        dicts, notes = [], [f"No single page can be shown: {error}."]
        if main.evaluated("items.json") is not None:
            sections, _ = item_sections(runs, count=options.pages)
    else:
        sections, notes = _box_sections(runs, dicts, classes, options, say)
    if options.graph:
        say(f"drawing the graph of a page with {main.weights}")
        view, text = page_graph(main, dicts, device=options.device)
        if view is None:
            notes.append(text)
        else:
            sections.append(graph_section(view, text))
        if view is not None and options.graph_file is not None:
            graph_picture(view, options.graph_file)
    return sections, notes


def load_pages(run: StoredRun) -> tuple[list[dict], tuple[str, ...]]:
    """Loads data set dicts and class names of a run's test set. Missing generated pages are not
    made.

    Raises:
        UserError: the set is unknown, not on this machine, or cannot be used.
    """
    name = run.test_set
    if name is None:
        raise UserError(f"{run.name} names no test set (DATASETS.TEST)")
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


def _box_sections(
    runs: Sequence[StoredRun],
    dicts: list[dict],
    classes: tuple[str, ...],
    options: Options,
    say: Callable[[str], None],
) -> tuple[list[Section], list[str]]:
    """Makes sections from the stored predictions of all runs that were scored on the same pages."""
    main, known, notes = runs[-1], {}, []
    for run in runs:
        predictions = predictions_of(run, classes)
        if predictions is None:
            notes.append(
                f"{run.name} has no stored predictions (eval/{run.test_set}/coco_results.json), so "
                "its pages cannot be judged; `graphkd eval` writes them."
            )
        elif run.test_set == main.test_set:
            known[run.name] = predictions
    if main.name not in known:
        return [], notes
    say(f"comparing predictions with the {len(dicts)} pages of {main.test_set}")
    shown = {"score": options.score, "count": options.pages, "worst": options.worst}
    try:
        sections, unread = box_sections(known, dicts, classes, **shown)
    except UserError as error:
        return [], [*notes, f"No single page can be shown: {error}."]
    return sections, notes + unread


def predictions_of(run: StoredRun, classes: Sequence[str]) -> list[dict] | None:
    """Stored COCO results on a run's test set, with class numbers in place of the json's category
    ids; None if none are stored.
    """
    predictions = run.evaluated("coco_results.json")
    said = read_json(run.folder / "eval" / (run.test_set or "") / "metrics.json", dict) or {}
    ids = said.get("category_ids")
    if predictions is None or ids is None:  # older files hold class numbers
        return predictions
    numbers = {ids[name]: number for number, name in enumerate(classes) if name in ids}
    return [{**row, "category_id": numbers.get(row["category_id"], -1)} for row in predictions]


def graph_section(view: GraphView, text: str, *, strongest: int = STRONGEST) -> Section:
    """The section with the graph of a page; `text` describes the graph."""
    edges = f"{strongest} strongest edges" if strongest > 1 else "strongest edge"
    svg = graph_svg(view, strongest=strongest)
    body = fill("graph.html.j2", svg=svg, text=text, edges=edges)
    return Section("graph", "Document graph of a page", body)


def page_graph(run: StoredRun, dicts: list[dict], *, device: str) -> tuple[GraphView | None, str]:
    """The teacher's graph of a page, if the run was trained with `graphkd` and the teacher still
    exists; otherwise the graph of the run's own detections. The second value is a sentence that
    describes the graph, or the reason why there is none.
    """
    if not run.weights.is_file():
        return None, "There is no graph, since the weights (model_final.pth) are gone."
    page = _telling_page(dicts)
    if page is None:
        return None, "There is no graph, since no page can be read."
    name, reason = Path(page["file_name"]).name, ""
    try:
        cfg = load_cfg(run.folder / "config.yaml")
        if "graphkd" in cfg.DISTILL.LOSSES:
            try:
                view = _teacher_graph(run, cfg, page, device)
            except UserError as error:
                reason = f"The teacher's graph cannot be drawn: {error}. "
            else:
                if view is not None:
                    return view, (
                        f"{name} as the teacher sees it at regions that the student samples: text "
                        "regions that it finds alike are merged into one node."
                    )
        view = _own_graph(run, cfg, page, device)
    except UserError as error:
        return None, f"{reason}There is no graph of {run.name}'s own: {error}."
    if view is None:
        return None, f"{reason}There is no graph, since {run.name} finds nothing on its page."
    return view, (
        f"{reason}{name} as {run.name} sees it: its own detections and features, text regions that "
        "are alike merged into one node."
    )


def _telling_page(dicts: list[dict]) -> dict | None:
    """The page with the most classes, out of those with 3 to 20 objects, which fit a drawing."""
    few = [page for page in dicts if 3 <= len(page["annotations"]) <= 20] or dicts

    def variety(page: dict) -> tuple[int, int]:
        kinds = {item["category_id"] for item in page["annotations"]}
        return len(kinds), len(page["annotations"])

    return max(few, key=variety, default=None)


def _teacher_graph(run: StoredRun, cfg: CfgNode, page: dict, device: str) -> GraphView | None:
    """The teacher's graph of a page, with types and merging, at the RoIs that the trained student
    samples; None if there is no node.
    """
    source = run.folder / "config.yaml"
    cfg = cfg.clone()
    cfg.MODEL.DEVICE = device
    cfg.MODEL.WEIGHTS = ""  # the checkpoint of the run has all weights
    cfg.DISTILL.TEACHER.WEIGHTS = str(_find_teacher(run, cfg))
    cfg.freeze()
    student, distiller = build_models(cfg, source=source)
    distiller.train()
    stored = torch.load(run.weights, map_location="cpu", weights_only=True)
    student.load_state_dict(stored["model"])
    distiller.losses.load_state_dict(stored["distill"])
    # The model samples RoIs only in training mode, but normalisation must use its trained
    # statistics.
    for module in student.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
    mapped = _as_training_item(cfg, page)
    with torch.no_grad(), EventStorage(0), torch.random.fork_rng():
        torch.manual_seed(0)
        _, outputs, targets = distiller.view.step([mapped])
        boxes = list(outputs.regions.boxes)
        teacher = distiller.teacher.observe([mapped], boxes, distiller.needs)
        graph = distiller.losses["graphkd"].instance_graph(teacher, targets, 0)
    if not len(graph.regions):
        return None
    labels = targets.region_labels[graph.regions].tolist()
    classes = [*classes_of(run.test_set), "background"]
    height, width = mapped["image"].shape[-2:]
    growth = torch.tensor([page["width"] / width, page["height"] / height] * 2)
    shown = boxes[0][graph.regions].cpu() * growth
    names = [classes[min(k, len(classes) - 1)] for k in labels]
    return _view(page, graph, shown, graph.region_types, names)


def _own_graph(run: StoredRun, cfg: CfgNode, page: dict, device: str) -> GraphView | None:
    stored = read_model(run.weights, config=run.folder / "config.yaml")
    texts = text_classes(cfg.DATASETS.TEST[0])
    if texts is None:
        texts, _ = text_names(stored.classes)
    return detected_graph(stored, page, text_classes=texts, device=device)


def _find_teacher(run: StoredRun, cfg: CfgNode) -> Path:
    """The path of the teacher's weights: as in the config, or beside the run, where a demo puts
    them.

    Raises:
        UserError: they do not exist any more, or are those of another training.
    """
    source = run.folder / "config.yaml"
    find_config(cfg.DISTILL.TEACHER.CONFIG, near=source)
    named = teacher_weights(cfg, load_teacher_cfg(cfg, source=source))
    beside = run.folder.parent / "teacher" / "model_final.pth"
    digest = run.record.get("teacher")
    there = [path for path in (named, beside) if path.is_file()]
    for path in there:
        if digest is None and path == named or digest == file_digest(path):
            return path
    if there and digest is not None:
        raise UserError(f"{there[0]} is not the teacher that this run had")
    raise UserError(f"its weights are not there any more ({named})")


@torch.no_grad()
def detected_graph(
    stored: ModelFile,
    page: dict,
    *,
    text_classes: Collection[str],
    score: float | None = None,
    device: str = "cpu",
) -> GraphView | None:
    """The graph of a detector's own detections and features on one page.

    The nodes are detections, with types from their predicted classes. Text regions are merged as in
    the `graphkd` loss. Edges are cosines of the RoI features. There are no background nodes.

    Args:
        stored: the detector.
        page: a data set dict; only `file_name` is required.
        text_classes: names of the text classes.
        score: lowest score of a detection; by default the threshold of its class in the file, or
            0.5 if there is none.
        device: device of the model.

    Returns:
        None if nothing is found.

    Raises:
        UserError: the page cannot be read, or there is no view for this kind of detector.
    """
    model = build_detector(stored, device=device)
    view = view_of(model)
    mapped = PageMapper(stored.cfg, is_train=False)(page)
    found = model([mapped])[0]["instances"]
    names = [stored.classes[k] for k in found.pred_classes.tolist()]
    limits = [
        stored.header.thresholds.get(n, SHOWN_SCORE) if score is None else score for n in names
    ]
    kept = found.scores.cpu() >= torch.tensor(limits)
    if not kept.any():
        return None
    boxes = found.pred_boxes.tensor[kept.to(found.scores.device)]
    names = [name for name, keep in zip(names, kept.tolist(), strict=True) if keep]
    height, width = mapped["image"].shape[-2:]
    growth = boxes.new_tensor([width / mapped["width"], height / mapped["height"]] * 2)
    needs = frozenset({"region_features"})
    features = view.observe([mapped], [boxes * growth], needs).regions.features
    types = torch.tensor([TEXT if name in text_classes else NONTEXT for name in names])
    affinity = cosine_affinity(features.flatten(1).float()).cpu()
    boxes = boxes.cpu()
    plan = plan_nodes(torch.arange(len(boxes)), types, boxes, affinity)
    return _view(page, describe(plan, boxes, pool_edges(affinity, plan)), boxes, types, names)


def _view(
    page: dict, graph: InstanceGraph, boxes: Tensor, types: Tensor, names: list[str]
) -> GraphView:
    return GraphView(
        image=read_for(page, format="RGB"),
        boxes=boxes.numpy(),
        node_types=[TYPE_NAMES[kind] for kind in types.tolist()],
        groups=graph.groups.tolist(),
        edges=graph.edges.cpu().numpy(),
        assignment=graph.assignment.cpu().numpy(),
        classes=names,
    )


def _as_training_item(cfg: CfgNode, page: dict) -> dict:
    """`page` mapped with its ground truth, but at test size and without augmentation."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.INPUT.MIN_SIZE_TRAIN = (cfg.INPUT.MIN_SIZE_TEST,)
    cfg.INPUT.MAX_SIZE_TRAIN = cfg.INPUT.MAX_SIZE_TEST
    cfg.INPUT.RANDOM_FLIP = "none"
    cfg.INPUT.CROP.ENABLED = False
    return PageMapper(cfg, is_train=True)(page)
