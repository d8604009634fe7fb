"""Colours are distinct, stable and dark enough for a white page."""

from graphkd.report.colours import MIXED_EDGE, NODE_COLOURS, class_colours, edge_colour, rgb


def luminance(colour: str) -> float:
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (part / 255 for part in rgb(colour))
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_thirty_classes_get_thirty_colours_in_order_of_appearance():
    names = [f"class {i}" for i in range(30)]
    colours = class_colours([*names, *names[::-1]])
    assert list(colours) == names and len(set(colours.values())) == 30
    assert class_colours(names[:3]) == {name: colours[name] for name in names[:3]}


def test_picked_colours_stand_out_on_white():
    for colour in [*class_colours(map(str, range(12))).values(), *NODE_COLOURS.values()]:
        assert 1.05 / (luminance(colour) + 0.05) >= 3.0, colour  # WCAG's bound for graphics


def test_edges_tell_their_kinds_apart():
    assert edge_colour("text", "text") == NODE_COLOURS["text"]
    assert edge_colour("nontext", "text") == edge_colour("text", "nontext") == MIXED_EDGE
    assert edge_colour("text", "background") == NODE_COLOURS["background"]
