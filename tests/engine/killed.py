"""Running the command line in forked processes, which load nothing anew, and ways to end them."""

import os
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import torch

from graphkd import cli
from graphkd.engine.trainer import Trainer


def command(arguments: list[str], errors: Path, *, trouble: Callable[[], None] | None = None):
    """Runs `graphkd ARGUMENTS` in a forked process.

    Args:
        arguments: of the command line.
        errors: file that receives the process's standard error.
        trouble: called in the process before the command, to prepare its end.

    Returns:
        (exit code, negative for a signal; lines on standard error without progress bars).
    """
    return ended(start(arguments, errors, trouble=trouble), errors)


def two_processes(
    arguments: list[str], folder: Path, *, trouble: Callable[[], None] | None = None
) -> list[tuple[int, list[str]]]:
    """Runs `graphkd ARGUMENTS` in two processes with the environment that torchrun gives them.

    Returns:
        What `command` returns, for each process.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    world = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    world |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    files = [folder / f"errors{rank}" for rank in range(2)]
    children = [
        start(
            arguments,
            file,
            trouble=trouble,
            environment={**world, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank, file in enumerate(files)
    ]
    return [ended(child, file) for child, file in zip(children, files, strict=True)]


def start(
    arguments: list[str],
    errors: Path,
    *,
    trouble: Callable[[], None] | None = None,
    environment: dict[str, str] | None = None,
) -> int:
    """Forks such a process, with further variables in its environment; gives its number."""
    child = os.fork()
    if not child:
        code = 99
        try:
            for number, path in ((1, os.devnull), (2, errors)):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
            torch.set_num_threads(1)
            # A shell starts what it puts in the background deaf to Ctrl-C.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.environ.update(environment or {})
            if trouble is not None:
                trouble()
            code = cli.main(arguments)
        except SystemExit as error:
            code = error.code
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    return child


def ended(child: int, errors: Path) -> tuple[int, list[str]]:
    """Waits for such a process; its exit code and what it said."""
    _, status = os.waitpid(child, 0)
    lines = errors.read_text(errors="replace").replace("\r", "\n").splitlines()
    said = [line.strip() for line in lines if "%|" not in line]
    return os.waitstatus_to_exitcode(status), [line for line in said if line.strip("\x1b[A")]


def send(number: int) -> None:
    os.kill(os.getpid(), number)


def at_step(step: int, method: str, act: Callable[[], None]) -> Callable[[], None]:
    """Trouble that comes before the trainer's `method` in step `step`."""

    def prepare() -> None:
        original = getattr(Trainer, method)

        def then(self, *args):
            if self.iter == step:
                act()
            return original(self, *args)

        setattr(Trainer, method, then)

    return prepare


def small_files_only() -> None:
    """From now on the system refuses to write a file beyond a megabyte."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))


def killed_while_saving(step: int) -> Callable[[], None]:
    """Ends the process as kill -9 does, with half of a step's checkpoint written."""

    def prepare() -> None:
        original = torch.save

        def half(data, file, **options):
            original(data, file, **options)
            if data.get("iteration") == step:
                file.truncate(file.tell() // 2)
                send(signal.SIGKILL)

        torch.save = half

    return prepare
