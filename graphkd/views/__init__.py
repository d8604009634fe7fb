"""Views by meta architecture: the only folder that knows Detectron2 module names."""

from torch import nn

from graphkd.errors import UserError
from graphkd.views.base import View
from graphkd.views.dense import DenseView
from graphkd.views.rcnn import RCNNView

VIEWS: dict[str, type[View]] = {"GeneralizedRCNN": RCNNView, "RetinaNet": DenseView}


def view_of(model: nn.Module) -> View:
    """The view of `model`'s family.

    Raises:
        UserError: no view knows this meta architecture.
    """
    name = type(model).__name__
    if name not in VIEWS:
        raise UserError(f"no view for {name}; distillation knows {', '.join(VIEWS)}")
    return VIEWS[name](model)
