"""What fuzz tests share: mutations of good files, a limit on time, a process of little memory."""

import contextlib
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

MEGABYTE = 1 << 20
QUICK = settings(
    max_examples=150,
    deadline=None,  # a shared machine is slow; `cpu_seconds` counts this process's own time
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


@contextlib.contextmanager
def cpu_seconds(limit: float):
    """Fails where a block computes longer than `limit` seconds."""

    def late(*_):
        raise AssertionError(f"it computed for more than {limit} seconds")

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, limit)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@st.composite
def damaged(draw, good: bytes):
    """`good` with a few bytes changed, taken out or put in, or cut off."""
    raw = bytearray(good)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(len(raw) - 1, 0)))
        match draw(st.sampled_from(["change", "remove", "insert", "cut", "repeat"])):
            case "change":
                raw[place : place + 1] = draw(st.binary(min_size=1, max_size=4))
            case "remove":
                del raw[place : place + draw(st.integers(1, 30))]
            case "insert":
                raw[place:place] = draw(st.binary(min_size=1, max_size=12))
            case "cut":
                del raw[place:]
            case "repeat":
                raw[place:place] = raw[place : place + 40] * draw(st.integers(1, 5))
    return bytes(raw)


def confined(code: str, *arguments: Path | int, memory: int, seconds: int = 60) -> tuple[str, int]:
    """Runs Python code in a process that may take `memory` bytes of address space.

    Returns:
        (what it printed, its largest resident memory in bytes).
    """

    def confine() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))

    # Not getrusage: that counts what the parent held when it forked.
    report = "\nstatus = open('/proc/self/status').read()"
    report += "\nprint(status.split('VmHWM:')[1].split()[0])\n"
    done = subprocess.run(
        [sys.executable, "-c", code + report, *map(str, arguments)],
        preexec_fn=confine,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    *said, peak = done.stdout.splitlines()
    return "\n".join(said), int(peak) * 1024


def works_or_says(action: Callable, *errors: type[Exception], limit: float = 10.0):
    """The result of `action()`, or None where it raised one of `errors` in one line."""
    with cpu_seconds(limit):
        try:
            return action()
        except errors as error:
            assert str(error) and "\n" not in str(error), repr(str(error))
            return None
