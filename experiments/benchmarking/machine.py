"""The state of the machine during a timing: the cores that others kept busy, the clock.

The load average is of a minute or more, so it is recorded before a case alone. During a turn others
have what all cores worked, by /proc/stat, less what this process worked, all of its threads
included. On a virtual machine that counts what its host took away ("steal") too.
"""

import contextlib
import os
import re
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxgen.runs import manifest as run_manifest

STAT, CPUINFO = Path("/proc/stat"), Path("/proc/cpuinfo")
BUSY = 0.05
"""Share of all cores above which others disturb a turn."""
UNEVEN = 1.3
"""Slowest turn over the fastest one above which something disturbed them."""
LEAST_S = 0.5
"""Seconds over which a share is taken: the system counts in hundredths of a second."""


class Reading(NamedTuple):
    """Clocks at one moment, in seconds."""

    at: float
    own: float
    """Of all cores, for this process."""
    all: float | None
    """Of all cores, for anybody; None where the system does not count it."""


def reading() -> Reading:
    """The clocks now."""
    return Reading(time.perf_counter(), time.process_time(), _worked())


def _worked() -> float | None:
    """Seconds that all cores have worked since the start: user, nice, system, irq, softirq, steal.

    `guest` is a part of user.
    """
    with contextlib.suppress(OSError, ValueError, IndexError):
        ticks = [int(word) for word in STAT.read_text().split("\n", 1)[0].split()[1:9]]
        return (sum(ticks[:3]) + sum(ticks[5:8])) / os.sysconf("SC_CLK_TCK") or None
    return None


def others(since: Reading, now: Reading) -> float | None:
    """Share of all cores that others kept busy between two moments; None where not known.

    It is not known of less than `LEAST_S`, nor where the system counts nothing.
    """
    wall = now.at - since.at
    if since.all is None or now.all is None or wall < LEAST_S:
        return None
    busy = (now.all - since.all) - (now.own - since.own)
    return max(0.0, busy / (wall * (os.cpu_count() or 1)))


def load() -> float | None:
    """Programs that wanted a core in the last minute, on average; None where not known."""
    with contextlib.suppress(OSError):
        return os.getloadavg()[0]
    return None


def clock_mhz() -> float | None:
    """The frequency of the cores now, their mean; None where the system does not give it."""
    with contextlib.suppress(OSError):
        found = re.findall(r"^cpu MHz\s*:\s*([\d.]+)", CPUINFO.read_text(), re.M)
        return statistics.fmean(map(float, found)) if found else None
    return None


def environment() -> dict[str, Any]:
    """The environment of a run, with the processor's family and model beside its name.

    Processors of one name may compute at twice the speed of each other.
    """
    found, numbers = run_manifest.environment(), ""
    with contextlib.suppress(OSError):
        text = CPUINFO.read_text()
        fields = [re.search(rf"^{name}\s*: (\d+)$", text, re.M) for name in ("cpu family", "model")]
        if all(fields):
            numbers = " (family {}, model {})".format(*(field[1] for field in fields if field))
    return found | {"processor": found["processor"] + numbers}


def disturbance(seconds: Sequence[float], shares: Sequence[float | None]) -> str:
    """The sign that something else ran during some turns, in words; empty where there is none.

    Args:
        seconds: that each turn took.
        shares: see `others`, of each turn.
    """
    most = max((share for share in shares if share is not None), default=0.0)
    if most > BUSY:
        return f"others had {most:.2f} of the cores"
    if (ratio := max(seconds, default=1.0) / min(seconds, default=1.0)) > UNEVEN:
        return f"the slowest turn took {ratio:.2f} times the fastest"
    return ""
