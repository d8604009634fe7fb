"""Logging of a run: everything goes to its log file, warnings also to the terminal."""

import logging
import sys
import warnings
from pathlib import Path

from detectron2.utils import comm

NAMES = ("detectron2", "fvcore", "graphkd", "py.warnings")


class _RunLog(logging.FileHandler):
    """Drops log lines that a full disk does not take, without a traceback for each. The next
    checkpoint reports the full disk.
    """

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


def open_log(path: Path) -> None:
    """Writes the log lines of this project and Detectron2 to `path`, and closes the file of an
    earlier run.

    The terminal is for the progress bars. It shows only warnings of this project, and only those of
    the main process, since most warnings are the same on every process.
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
    # Detectron2 0.6 uses names that torch has renamed since; a user can do nothing about it.
    warnings.filterwarnings("ignore", message=".*torch.cuda.amp.*", category=FutureWarning)
