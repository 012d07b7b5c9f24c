"""Wall time and memory of ``recommender recommend --json`` in a fresh process with a built catalog.

    python benchmarks/cli.py [--runs 9]

Median over the runs, and the largest resident size that the operating system counted (``wait4``; Linux and macOS).
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time

from recommender.catalog import open_catalog

COMMAND = (sys.executable, "-m", "recommender.cli", "recommend", "--json")


def one_run() -> tuple[float, float]:
    """Seconds from start to exit, and peak resident MB (10^6 bytes)."""
    start = time.perf_counter()
    with subprocess.Popen(COMMAND, stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(COMMAND)} ended with {process.returncode}.")
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes on macOS, KiB on Linux
    return time.perf_counter() - start, usage.ru_maxrss * unit / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=9)
    runs = parser.parse_args().runs
    open_catalog().close()
    one_run()  # fills the page cache and writes the byte code
    load = os.getloadavg()[0]
    found = [one_run() for _ in range(runs)]
    seconds, megabytes = [run[0] for run in found], [run[1] for run in found]
    print(f"{runs} fresh processes, load {load:.1f}\n")
    print("| median | fastest | peak resident |\n|---|---|---|")
    print(f"| {statistics.median(seconds):.2f} s | {min(seconds):.2f} s | {max(megabytes):.0f} MB |")


if __name__ == "__main__":
    main()
