"""Where log lines go: everything into the run's file, warnings also onto the terminal."""

import logging
import sys
import warnings
from pathlib import Path

from detectron2.utils import comm

NAMES = ("detectron2", "fvcore", "graphkd", "py.warnings")


class _RunLog(logging.FileHandler):
    """A full disk costs log lines, not a stack trace for each: the checkpoint says what is
    wrong.
    """

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


def open_log(path: Path) -> None:
    """Sends log lines of this project and Detectron2 to `path`, closing the file of an earlier run.

    The terminal stays with the progress bars; it shows warnings of this project alone, and those
    of the main process only, since most warnings are the same on every process.
    """
    file = _RunLog(path)
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
        if name == "graphkd" and comm.is_main_process():
            logger.addHandler(terminal)
    logging.captureWarnings(True)
    warnings.filterwarnings("ignore", message=".*torch.cuda.amp.*", category=FutureWarning)
