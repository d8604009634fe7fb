"""The channels of a line reader's body that can be pruned together, and what a plan costs.

Only bodies are pruned. Levels that a neck reads, and so the last stage, keep their channels, the
squeezed channels of squeeze and excitation too, and recurrent layers are never touched.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from graphkd.errors import UserError
from graphkd.modeling.line.bodies import MOBILENETS, BasicBlock, LineBody
from graphkd.modeling.line.layers import CoordinateAttention, MetaACON, SqueezeExcitation

# The size of a line at which multiplications are counted, as in the published tables.
LINE = (32, 320)
# Group name -> number of channels.
Widths = Mapping[str, int]


@dataclass(frozen=True)
class Group:
    """Channels that are removed together.

    Attributes:
        name: such as stem.0, stages.2 or inner.5.
        key: the key of MODEL.READER that holds their number.
        place: the place in the list of this key.
        size: number of channels.
        producers: names of the convolutions that make them.
        tensors: name of a parameter or buffer -> its dimension of these channels.
    """

    name: str
    key: str
    place: int
    size: int
    producers: tuple[str, ...]
    tensors: Mapping[str, int]


def groups_of(model: nn.Module) -> tuple[Group, ...]:
    """The groups of a `LineRecognizer`.

    Raises:
        UserError: a layer whose own width depends on the channels around it.
    """
    body = model.body
    for kind in (MetaACON, CoordinateAttention):
        if any(isinstance(layer, kind) for layer in body.modules()):
            raise UserError(
                f"prune supports bodies without {kind.__name__}; use ATTENTION se or none and ACON "
                "False"
            )
    walk = _Walk(body)
    resnet = isinstance(body.blocks[0], BasicBlock)
    return tuple(_resnet(walk, body) if resnet else _mobilenet(walk, body))


class _Walk:
    """Collects the tensors of groups by the names of the layers that hold them."""

    def __init__(self, body: LineBody):
        self._layers = dict(body.named_modules())

    def group(
        self,
        key: str,
        place: int,
        *,
        made: Iterable[str],
        read: Iterable[str],
        followed: Iterable[str] = (),
    ) -> Group:
        """A group.

        Args:
            key: of MODEL.READER.
            place: in its list.
            made: pairs of a convolution and its normalisation that make the channels.
            read: such pairs, or convolutions, that read them.
            followed: further layers on these channels: depthwise pairs, squeeze and excitation.
        """
        tensors, made = {}, tuple(made)
        for name in made:
            tensors |= self._pair(name)
        for name in followed:
            if isinstance(self._layers[name], SqueezeExcitation):
                expand = {f"{name}.expand.weight": 0, f"{name}.expand.bias": 0}
                tensors |= {f"{name}.reduce.weight": 1, **expand}
            else:
                tensors |= self._pair(name)
        tensors |= {f"{name}.0.weight": 1 for name in read}
        size = self._layers[f"{made[0]}.0"].out_channels
        return Group(
            f"{key.lower()}.{place}",
            key,
            place,
            size,
            tuple(f"body.{name}.0" for name in made),
            {f"body.{name}": dim for name, dim in tensors.items()},
        )

    def has(self, name: str) -> bool:
        """Whether there is such a layer that does something."""
        return not isinstance(self._layers.get(name, nn.Identity()), nn.Identity)

    def _pair(self, name: str) -> dict[str, int]:
        norm = ("weight", "bias", "running_mean", "running_var")
        return {f"{name}.0.weight": 0, **{f"{name}.1.{part}": 0 for part in norm}}


def _resnet(walk: _Walk, body: LineBody) -> Iterable[Group]:
    """Three stem convolutions, the stages' outputs, and the first convolution of every block."""
    count = len(body.blocks)
    for place in range(3):
        read = [f"stem.{place + 1}"] if place < 2 else ["blocks.0.first", "blocks.0.project"]
        yield walk.group("STEM", place, made=[f"stem.{place}"], read=read)
    for stage in range(3):
        blocks = [index for index in (2 * stage, 2 * stage + 1) if index < count]
        if body.taps.keys() & set(blocks):
            continue  # the neck reads them
        following = 2 * stage + 2
        yield walk.group(
            "STAGES",
            stage,
            made=[*(f"blocks.{i}.second" for i in blocks), f"blocks.{blocks[0]}.project"],
            read=[
                f"blocks.{blocks[1]}.first",
                f"blocks.{following}.first",
                f"blocks.{following}.project",
            ],
            followed=[name for i in blocks if walk.has(name := f"blocks.{i}.attention")],
        )
    for index in range(count):
        made, read = [f"blocks.{index}.first"], [f"blocks.{index}.second"]
        yield walk.group("INNER", index, made=made, read=read)


def _mobilenet(walk: _Walk, body: LineBody) -> Iterable[Group]:
    """The expanded channels of every block: its expanding and its depthwise convolution."""
    for index, block in enumerate(body.blocks):
        layers = f"blocks.{index}.layers"
        yield walk.group(
            "INNER",
            index,
            made=[f"{layers}.0"],
            read=[f"{layers}.{len(block.layers) - 1}"],
            followed=[f"{layers}.{place}" for place in range(1, len(block.layers) - 1)],
        )


@dataclass(frozen=True)
class _Convolution:
    """A convolution: multiplications of one pair of channels, its channels, and their groups."""

    area: int
    inputs: int
    outputs: int
    reads: str | None
    makes: str | None


class Costs:
    """Counts the multiplications of the convolutions of body and neck for a line of 32 x 320.

    Args:
        model: a `LineRecognizer`, not pruned or pruned.
        groups: of the model.
    """

    def __init__(self, model: nn.Module, groups: Iterable[Group]):
        reads, makes = {}, {}
        for group in groups:
            for name, dim in group.tensors.items():
                (makes if dim == 0 else reads)[name] = group.name
        self._convolutions: list[_Convolution] = []

        def note(name: str):
            def hook(layer: nn.Conv2d, _: tuple, output: Tensor) -> None:
                kernel = layer.kernel_size[0] * layer.kernel_size[1]
                key = f"{name}.weight"
                self._convolutions.append(
                    _Convolution(
                        output.shape[-2] * output.shape[-1] * kernel,
                        layer.in_channels // layer.groups,
                        layer.out_channels,
                        reads.get(key),
                        makes.get(key),
                    )
                )

            return hook

        hooks = [
            layer.register_forward_hook(note(name))
            for name, layer in model.named_modules()
            if isinstance(layer, nn.Conv2d)
        ]
        mode, model = model.training, model.eval()
        try:
            with torch.no_grad():
                model.neck(model.body(torch.zeros(1, 3, *LINE, device=model.device)))
        finally:
            model.train(mode)
            for hook in hooks:
                hook.remove()

    def __call__(self, widths: Widths) -> int:
        """Multiplications if the groups have these numbers of channels; others stay as they are."""
        return sum(
            each.area * widths.get(each.reads, each.inputs) * widths.get(each.makes, each.outputs)
            for each in self._convolutions
        )


def cut(
    state: Mapping[str, Tensor], groups: Iterable[Group], kept: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The weights of the smaller model.

    Args:
        state: of the model that the groups belong to.
        groups: of this model.
        kept: group name -> numbers of the channels that stay, sorted; other groups stay whole.
    """
    smaller = dict(state)
    for group in groups:
        if group.name in kept:
            for name, dim in group.tensors.items():
                index = kept[group.name].to(smaller[name].device)
                smaller[name] = smaller[name].index_select(dim, index)
    return smaller


def reader_keys(model: nn.Module, groups: Iterable[Group], widths: Widths) -> dict[str, list[int]]:
    """The lists of MODEL.READER that rebuild a pruned model.

    Args:
        model: the unpruned model.
        groups: of this model.
        widths: of some or all groups.
    """
    blocks = model.body.blocks
    if isinstance(blocks[0], BasicBlock):
        keys = {"STEM": [0] * 3, "INNER": [1] * 8}
        keys["STAGES"] = [block.second[0].out_channels for block in blocks[::2]]
    else:
        rows = [len(rows) for rows, *_ in MOBILENETS.values()]
        keys = {"INNER": [1] * min(count for count in rows if count >= len(blocks))}
    # Blocks after the last level that the neck reads are not built; their number has no effect.
    for group in groups:
        keys[group.key][group.place] = widths.get(group.name, group.size)
    return keys
