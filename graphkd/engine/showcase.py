"""What trained models see on a few pages, as views that the report draws; no drawing and no
training.
"""

import itertools
from collections.abc import Collection
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.structures import BoxMode
from detectron2.utils.events import EventStorage
from torch import nn

from graphkd.data.mapper import PageMapper, read_for
from graphkd.distill.graph.edges import cosine_affinity
from graphkd.distill.graph.nodes import (
    NONTEXT,
    TEXT,
    TYPE_NAMES,
    describe,
    plan_nodes,
    pool_edges,
)
from graphkd.engine.build import build_models
from graphkd.modelfile import ModelFile, build_detector
from graphkd.report.content import Boxes, GraphView, PageView
from graphkd.views import view_of

SHOWN_SCORE = 0.5


def sample_pages(name: str, count: int) -> list[dict]:
    """`count` data set dicts spread evenly over the set, out of the pages with several objects.

    Args:
        name: a registered data set.
        count: how many; fewer where the set is smaller.
    """
    dicts = DatasetCatalog.get(name)
    rich = [page for page in dicts if len(page["annotations"]) >= 3] or dicts
    step = max(1, len(rich) // max(count, 1))
    return list(itertools.islice(rich[step // 2 :: step], count))


@torch.no_grad()
def page_views(
    cfg: CfgNode, pages: list[dict], models: dict[str, nn.Module], classes: tuple[str, ...]
) -> list[PageView]:
    """Ground truth and every model's predictions of score 0.5 or more on `pages`.

    Args:
        cfg: reads INPUT of the models (all must share it).
        pages: data set dicts.
        models: title -> model in eval mode.
        classes: class names.
    """
    mapper = PageMapper(cfg, is_train=False)
    views = []
    for page in pages:
        mapped = mapper(page)
        predictions = {}
        for title, model in models.items():
            found = model([mapped])[0]["instances"].to("cpu")
            found = found[found.scores >= SHOWN_SCORE]
            predictions[title] = Boxes(
                found.pred_boxes.tensor.numpy(),
                [classes[k] for k in found.pred_classes.tolist()],
                found.scores.tolist(),
            )
        image = read_for(page, format="RGB")
        views.append(
            PageView(image, Path(page["file_name"]).name, _truth(page, classes), predictions)
        )
    return views


def _truth(page: dict, classes: tuple[str, ...]) -> Boxes:
    boxes = [
        BoxMode.convert(item["bbox"], item["bbox_mode"], BoxMode.XYXY_ABS)
        for item in page["annotations"]
    ]
    names = [classes[item["category_id"]] for item in page["annotations"]]
    return Boxes(np.asarray(boxes, dtype=float).reshape(-1, 4), names, None)


def graph_view(
    cfg: CfgNode, page: dict, *, source: Path, weights: Path, classes: tuple[str, ...]
) -> GraphView | None:
    """The teacher's typed and merged graph of one page, at the RoIs the trained student samples.

    Args:
        cfg: a distilled run's config.
        page: a data set dict.
        source: the run's yaml.
        weights: the run's checkpoint, with the loss' running statistics beside the student.
        classes: class names.

    Returns:
        None where the run has no `graphkd` loss or the page gives no node.
    """
    if "graphkd" not in cfg.DISTILL.LOSSES:
        return None
    student, distiller = build_models(cfg, source=source)
    distiller.train()
    stored = torch.load(weights, map_location="cpu", weights_only=True)
    student.load_state_dict(stored["model"])
    distiller.losses.load_state_dict(stored["distill"])
    # The sampler and the targets exist in training mode alone; normalisation keeps what it learnt.
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
    image = read_for(page, format="RGB")
    height, width = mapped["image"].shape[-2:]
    scale = np.array([image.shape[1] / width, image.shape[0] / height] * 2)
    labels = targets.region_labels[graph.regions].tolist()
    return GraphView(
        image=image,
        boxes=graph.boxes.cpu().numpy() * scale,
        node_types=[TYPE_NAMES[kind] for kind in graph.region_types.tolist()],
        groups=graph.groups.tolist(),
        edges=graph.edges.cpu().numpy(),
        assignment=graph.assignment.cpu().numpy(),
        classes=[classes[k] if k < len(classes) else "background" for k in labels],
    )


@torch.no_grad()
def detected_graph(
    stored: ModelFile,
    page: dict,
    *,
    text_classes: Collection[str],
    score: float | None = None,
    device: str = "cpu",
) -> GraphView | None:
    """The graph of what a detector finds on one page, with its own features.

    Nodes are its detections: text where the predicted class is, text regions merged as the
    `graphkd` loss does it; edges are cosines of the RoI features. There is no background node.

    Args:
        stored: the detector.
        page: a data set dict; `file_name` alone will do.
        text_classes: names of the classes that are text.
        score: detections below it are left out; by default the file's threshold of each class, 0.5
            where it names none.
        device: where the model runs.

    Returns:
        None where nothing is found.

    Raises:
        UserError: a page that cannot be read, or a detector of a family that has no view.
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
    graph = describe(plan, boxes, pool_edges(affinity, plan))
    return GraphView(
        image=read_for(page, format="RGB"),
        boxes=boxes.numpy(),
        node_types=[TYPE_NAMES[kind] for kind in types.tolist()],
        groups=graph.groups.tolist(),
        edges=graph.edges.numpy(),
        assignment=graph.assignment.numpy(),
        classes=names,
    )


def _as_training_item(cfg: CfgNode, page: dict) -> dict:
    """`page` mapped with its ground truth but at test size and unaugmented."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.INPUT.MIN_SIZE_TRAIN = (cfg.INPUT.MIN_SIZE_TEST,)
    cfg.INPUT.MAX_SIZE_TRAIN = cfg.INPUT.MAX_SIZE_TEST
    cfg.INPUT.RANDOM_FLIP = "none"
    cfg.INPUT.CROP.ENABLED = False
    return PageMapper(cfg, is_train=True)(page)
