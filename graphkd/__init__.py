"""graphkd: small document detectors distilled from big ones, on Detectron2."""

__version__ = "0.1.0"
