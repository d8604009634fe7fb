"""Views by meta architecture: the only folder that knows Detectron2 module names."""

from graphkd.views import dense, line, maps, rcnn  # noqa: F401 (they register their views)
from graphkd.views.view import VIEWS, View, view_for, view_of

__all__ = ["VIEWS", "View", "view_for", "view_of"]
