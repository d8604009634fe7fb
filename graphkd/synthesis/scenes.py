"""Generated scenes."""

from graphkd.synthesis.page import MadePage


def make_scene(seed: int, index: int, *, long_side: int = 640) -> MadePage:
    """Stub."""
    raise NotImplementedError
