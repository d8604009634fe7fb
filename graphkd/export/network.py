"""The whole exported detector, from bytes of pages to boxes on them; no file formats."""

from detectron2.config import CfgNode
from detectron2.modeling import GeneralizedRCNN
from detectron2.modeling.meta_arch.retinanet import RetinaNet
from torch import Tensor, nn

from graphkd.errors import UserError
from graphkd.export.boxes import to_page
from graphkd.export.preprocess import Preprocess
from graphkd.export.rcnn import RCNNHead
from graphkd.export.retinanet import RetinaNetHead


class ExportNetwork(nn.Module):
    """A trained Detectron2 detector that takes and gives plain tensors, of any batch and page size.

    Args:
        model: from `graphkd.modelfile.build_detector`, in eval mode; its submodules are used.
        cfg: its config; INPUT is read.

    Raises:
        UserError: a kind of detector, or of input, that is not known here.
    """

    def __init__(self, model: nn.Module, cfg: CfgNode):
        super().__init__()
        if cfg.INPUT.FORMAT not in ("RGB", "BGR"):
            raise UserError(f"INPUT.FORMAT {cfg.INPUT.FORMAT}: export knows RGB and BGR")
        if type(model) is GeneralizedRCNN:
            self.head = RCNNHead(model)
        elif type(model) is RetinaNet:
            self.head = RetinaNetHead(model)
        else:
            raise UserError(
                f"export knows Faster R-CNN and RetinaNet, not {type(model).__name__}; "
                "--to safetensors keeps any detector"
            )
        self.backbone = model.backbone
        self.preprocess = Preprocess(
            shortest=cfg.INPUT.MIN_SIZE_TEST,
            longest=cfg.INPUT.MAX_SIZE_TEST,
            flip=cfg.INPUT.FORMAT == "BGR",
            mean=model.pixel_mean,
            std=model.pixel_std,
            divisibility=model.backbone.size_divisibility,
        )

    @property
    def score_floor(self) -> float:
        """Scores of detections are above this."""
        return self.head.score_floor

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Detects the regions of pages of one size.

        Args:
            images: (N, H, W, 3) uint8 RGB.

        Returns:
            boxes (M, 4) float32 x1 y1 x2 y2 in pixels of the page, scores (M,) float32, classes
            (M,) int64, image_index (M,) int64, sorted by image, then by falling score; M = 0 where
            nothing is found.
        """
        planes, page, size = self.preprocess(images)
        boxes, scores, classes = self.head(self.backbone(planes), size)
        return to_page(boxes, scores, classes, page=page, size=size)
