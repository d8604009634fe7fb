"""Made-up pages of text, figures and background for the tests of graph losses; no tests here."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from graphkd.distill.losses.base import LossContext
from graphkd.distill.outputs import Outputs, Regions, Targets

CLASSES = 4
TEXTS = (0, 1)
LEVELS = ("p2", "p3", "p4", "p5")


@dataclass(frozen=True)
class Page:
    """One page as both networks see it; row r is the same region."""

    boxes: Tensor
    labels: Tensor
    levels: Tensor
    student: Tensor
    teacher: Tensor
    logits: Tensor

    def take(self, rows) -> "Page":
        """The page with these regions in this order."""
        rows = torch.as_tensor(rows, dtype=torch.long)
        return Page(**{name: value[rows] for name, value in vars(self).items()})

    def change(self, **values) -> "Page":
        """The page with other values."""
        return replace(self, **values)


def make_page(
    seed, *, texts=8, figures=5, background=3, easy=4, student_width=8, teacher_width=8, size=5
) -> Page:
    """A page whose texts vary in every direction over their cells and other regions along one.

    Half of the texts are one paragraph's class and half the other's; `background` regions look like
    objects to the teacher, `easy` ones do not.
    """
    draw = torch.Generator().manual_seed(seed)
    total = texts + figures + background + easy

    def random(*shape):
        return torch.randn(*shape, generator=draw)

    labels = torch.full((total,), CLASSES)
    labels[:texts] = torch.arange(texts) % 2
    labels[texts : texts + figures] = 2 + torch.arange(figures) % 2
    along_one = random(total, teacher_width, 1, 1) * random(total, 1, size, size)
    varied = 0.8 * along_one + 0.05 * random(total, teacher_width, size, size)
    varied[:texts] = 0.8 * random(texts, teacher_width, size, size)
    looks = torch.randn(CLASSES + 1, teacher_width, generator=torch.Generator().manual_seed(9))
    own = 0.5 * random(total, teacher_width)
    teacher = (looks[labels] + own)[:, :, None, None] + varied
    logits = random(total, CLASSES + 1)
    logits[:, -1] = torch.where(torch.arange(total) < total - easy, -3.0, 8.0)
    corner = 300 * torch.rand(total, 2, generator=draw)
    return Page(
        boxes=torch.cat([corner, corner + 20 + 60 * torch.rand(total, 2, generator=draw)], 1),
        labels=labels,
        levels=torch.arange(total) % 2,
        student=random(total, student_width, size, size) + 0.5,
        teacher=teacher,
        logits=logits,
    )


def batch(pages, *, dtype=torch.float32) -> tuple[Outputs, Outputs, Targets]:
    """Student (features that require a gradient), teacher and targets of some pages."""

    def gather(name):
        return torch.cat([getattr(page, name) for page in pages])

    boxes = tuple(page.boxes for page in pages)
    student = Regions(boxes, gather("student").to(dtype).requires_grad_())
    teacher = Regions(boxes, gather("teacher").to(dtype), gather("logits").to(dtype))
    truth = tuple(page.boxes[page.labels < CLASSES] for page in pages)
    classes = tuple(page.labels[page.labels < CLASSES] for page in pages)
    targets = Targets(
        boxes=truth,
        classes=classes,
        image_sizes=((400, 400),) * len(pages),
        strides={level: 4 * 2**i for i, level in enumerate(LEVELS)},
        num_classes=CLASSES,
        region_labels=gather("labels"),
        region_boxes=gather("boxes"),
        region_levels=gather("levels"),
    )
    return Outputs({}, regions=student), Outputs({}, regions=teacher), targets


def context(**changes) -> LossContext:
    """Facts about the pair of `make_page`."""
    widths = changes.pop("student_channels", 8), changes.pop("teacher_channels", 8)
    facts = LossContext(
        channels=dict.fromkeys(LEVELS, widths),
        levels=LEVELS,
        num_classes=CLASSES,
        text_classes=TEXTS,
        two_stage=True,
        shared_regions=True,
        same_anchors=True,
        same_box_codes=True,
    )
    return replace(facts, **changes)


def run(loss, pages, *, dtype=torch.float32) -> tuple[dict[str, Tensor], Tensor]:
    """Terms and the gradient of their sum for the student's features."""
    student, teacher, targets = batch(pages, dtype=dtype)
    terms = loss(student, teacher, targets)
    (grad,) = torch.autograd.grad(sum(terms.values()), student.regions.features)
    return {name: term.detach() for name, term in terms.items()}, grad


def same(first, second, *, rtol=1e-4, atol=1e-6) -> bool:
    """Whether two sets of terms agree."""
    return first.keys() == second.keys() and all(
        torch.allclose(first[name], second[name], rtol=rtol, atol=atol) for name in first
    )
