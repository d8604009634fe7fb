"""Where log lines go: everything into the run's file, warnings also onto the terminal."""

import logging
import warnings
from pathlib import Path

NAMES = ("detectron2", "fvcore", "graphkd", "py.warnings")


def open_log(path: Path) -> None:
    """Sends log lines of this project and Detectron2 to `path`, closing the file of an earlier run.

    The terminal stays with the progress bars; it shows warnings of this project alone.
    """
    file = logging.FileHandler(path)
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    terminal = logging.StreamHandler()
    terminal.setLevel(logging.WARNING)
    terminal.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    for name in NAMES:
        logger = logging.getLogger(name)
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            handler.close()
        logger.setLevel(logging.INFO)
        logger.propagate = False
        logger.addHandler(file)
        if name == "graphkd":
            logger.addHandler(terminal)
    logging.captureWarnings(True)
    warnings.filterwarnings("ignore", message=".*torch.cuda.amp.*", category=FutureWarning)
