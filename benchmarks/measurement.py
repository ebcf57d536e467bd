"""Seconds and memory of a block of work, its child processes included.

Belongs here: reading the clocks and the process table. Does not belong here: what is measured (`stages.py`,
`limits/`) or how it is shown (`report.py`). CPU seconds are what to compare: on a machine that others use as
well, wall seconds grow with their load.
"""

import os
import resource
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

#: Seconds between two looks at the memory of child processes.
_PERIOD = 0.05

_PAGE = resource.getpagesize()


@dataclass(slots=True)
class Measurement:
    """What a block of work took.

    Attributes:
        wall: Seconds by the clock.
        cpu: Seconds of processor time, user and system, of this process and the children it waited for.
        peak_bytes: Largest resident memory of this process and its children together while the block ran.
    """

    wall: float = 0.0
    cpu: float = 0.0
    peak_bytes: int = 0

    def as_dict(self) -> dict[str, float | int]:
        """Return the figures, ready for JSON."""
        return asdict(self)


def cpu_seconds() -> float:
    """Return the processor time used so far by this process and by the children it has waited for."""
    total = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        total += usage.ru_utime + usage.ru_stime
    return total


@contextmanager
def measured() -> Iterator[Measurement]:
    """Measure the block; the figures are complete when it ends."""
    found = Measurement()
    reset_peak()
    stop = threading.Event()
    watcher = threading.Thread(target=_watch, args=(found, stop), daemon=True)
    watcher.start()
    wall, cpu = time.monotonic(), cpu_seconds()
    try:
        yield found
    finally:
        found.wall = time.monotonic() - wall
        found.cpu = cpu_seconds() - cpu
        stop.set()
        watcher.join()
        found.peak_bytes = max(found.peak_bytes, own_peak())


def timed(work: Callable[[], object]) -> Measurement:
    """Measure one call."""
    with measured() as found:
        work()
    return found


def reset_peak() -> None:
    """Make the kernel forget this process's highest resident memory, where it lets us."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def own_peak() -> int:
    """Return the highest resident memory of this process in bytes since the last reset."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _watch(found: Measurement, stop: threading.Event) -> None:
    while not stop.wait(_PERIOD):
        with suppress(OSError, ValueError):
            found.peak_bytes = max(found.peak_bytes, resident_bytes(os.getpid()))


def resident_bytes(process: int) -> int:
    """Return the resident memory of a process and all of its descendants; pages they share count for each."""
    total = 0
    waiting = [process]
    while waiting:
        current = waiting.pop()
        with suppress(OSError):
            total += int(Path(f"/proc/{current}/statm").read_text(encoding="ascii").split()[1]) * _PAGE
            for task in Path(f"/proc/{current}/task").iterdir():
                waiting += map(int, (task / "children").read_text(encoding="ascii").split())
    return total
