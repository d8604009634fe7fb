"""Detectron2's DatasetMapper, but with a reader for all kinds of page images."""

import copy
import logging
from typing import Any

import numpy as np
import torch
from detectron2.data import DatasetMapper
from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T

from graphkd.data.images import ImageProblem, read_page
from graphkd.errors import UserError

logger = logging.getLogger(__name__)

_ADVICE = "`graphkd data check` on its data set says more and repairs a copy with --fix OUT"


class ResizeShortestEdge(T.ResizeShortestEdge):
    """Detectron2's resizing, but the short side of a very thin page keeps at least one pixel."""

    def get_transform(self, image: np.ndarray) -> T.Transform:
        """Returns the resizing of an image of shape (H, W, ...)."""
        resize = super().get_transform(image)
        if isinstance(resize, T.ResizeTransform) and min(resize.new_h, resize.new_w) < 1:
            height, width = max(resize.new_h, 1), max(resize.new_w, 1)
            return T.ResizeTransform(resize.h, resize.w, height, width, resize.interp)
        return resize


class PageMapper(DatasetMapper):
    """Detectron2's default mapper, but pages are read by `graphkd.data.images.read_page`.

    For an ordinary RGB page the result is bit for bit that of Detectron2. Transparent pages are put
    on white, 16-bit pages are scaled to 8 bits, and EXIF rotation is applied if it fits the width
    and height in the json. A page that cannot be decoded stops the run with one line that names it,
    where Detectron2 prints a traceback. If the mapper is built from a config, no side of a very
    thin page becomes 0 when it is resized.
    """

    def __call__(self, dataset_dict: dict[str, Any], progress: float = 0.0) -> dict[str, Any]:
        """Reads and transforms one page; see Detectron2's DatasetMapper for the keys.

        Raises:
            UserError: the page cannot be read, or its size differs from the one in `dataset_dict`.
        """
        dataset_dict = copy.deepcopy(dataset_dict)
        image = read_for(dataset_dict, format=self.image_format)
        dataset_dict.setdefault("width", image.shape[1])
        dataset_dict.setdefault("height", image.shape[0])
        sem_seg = None
        if "sem_seg_file_name" in dataset_dict:
            sem_seg = utils.read_image(dataset_dict.pop("sem_seg_file_name"), "L").squeeze(2)
        augmented = T.AugInput(image, sem_seg=sem_seg)
        transforms = self.augmentations(augmented)
        image, sem_seg = augmented.image, augmented.sem_seg
        shape = image.shape[:2]
        dataset_dict["image"] = torch.as_tensor(np.ascontiguousarray(image.transpose(2, 0, 1)))
        if sem_seg is not None:
            dataset_dict["sem_seg"] = torch.as_tensor(sem_seg.astype("long"))
        if self.proposal_topk is not None:
            utils.transform_proposals(
                dataset_dict, shape, transforms, proposal_topk=self.proposal_topk
            )
        if not self.is_train:
            dataset_dict.pop("annotations", None)
        elif "annotations" in dataset_dict:
            self._transform_annotations(dataset_dict, transforms, shape)
        return dataset_dict

    @classmethod
    def from_config(cls, cfg: Any, is_train: bool = True) -> dict[str, Any]:
        """Converts a Detectron2 config to constructor arguments, as Detectron2's mapper does."""
        arguments = super().from_config(cfg, is_train)
        for augmentation in arguments["augmentations"]:
            if type(augmentation) is T.ResizeShortestEdge:
                # Changes the class, since the settings that Detectron2 made can be kept as they
                # are.
                augmentation.__class__ = ResizeShortestEdge
        return arguments


def read_for(dataset_dict: dict[str, Any], *, format: str = "BGR") -> np.ndarray:
    """Reads the page of a Detectron2 dataset dict, rotated so that its annotations fit.

    Args:
        dataset_dict: has "file_name", and "width" and "height" in pixels if they are known.
        format: "BGR", "RGB" or "L".

    Returns:
        uint8 array of shape (height, width, 3) or (height, width, 1).

    Raises:
        UserError: the page cannot be read, or its size differs from the one in the dict.
    """
    path = dataset_dict["file_name"]
    size = None
    if "width" in dataset_dict and "height" in dataset_dict:
        size = (dataset_dict["width"], dataset_dict["height"])
    try:
        image = read_page(path, size=size, format=format)
    except ImageProblem as error:
        raise UserError(f"{path}: {error}; {_ADVICE}") from None
    found = (image.shape[1], image.shape[0])
    if size is not None and found != size:
        raise UserError(
            f"{path}: the picture has {found[0]} x {found[1]} pixels, its annotations are for "
            f"{size[0]} x {size[1]}; {_ADVICE}"
        )
    return image
