"""Text detectors that give maps, DB and EAST: bodies, models, label maps and losses."""

from graphkd.modeling.maps.bodies import add_map_config, build_map_backbone
from graphkd.modeling.maps.db import DB
from graphkd.modeling.maps.east import EAST

__all__ = ["DB", "EAST", "add_map_config", "build_map_backbone"]
