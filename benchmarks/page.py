"""How long the page takes from a changed input to the changed answer, in a real Chromium.

Starts the app, opens it, then changes the task again and again, each time from the click to the moment the answer card
names the new task. Prints the median as JSON (``--markdown`` for a table row). Needs the ``dev`` extra and Chromium.

    python benchmarks/page.py
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

REPOSITORY = Path(__file__).resolve().parent.parent
# In the page itself: the clock starts with the click and stops when the answer names the other priority's pick, so
# that neither the script's own polling nor the driver counts.
MEASURE = """
(label) => new Promise(resolve => {
  const card = document.querySelector('.st-key-answer');
  const run = document.querySelector('[data-testid=stApp]');
  const button = [...document.querySelectorAll('.st-key-priority button')].find(b => b.innerText.trim() === label);
  const start = performance.now();
  let changed = 0, text = card.innerText;
  const look = () => {
    const now = document.querySelector('.st-key-answer').innerText;
    if (now !== text) { text = now; changed = performance.now(); }
    if (changed && run.getAttribute('data-test-script-state') === 'notRunning') resolve(changed - start);
    else if (performance.now() - start > 20000) resolve(-1);
    else requestAnimationFrame(look);
  };
  button.click();
  look();
})
"""


def wait_for(url: str) -> None:
    for _ in range(600):
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"{url} does not answer.")


def changes(page: Page, repeats: int) -> list[float]:
    """Milliseconds from each click to the changed answer; the first of each priority warms up and is not kept."""
    labels = ("Speed", "Quality", "Smallest", "Balanced")
    for label in labels:
        page.evaluate(MEASURE, label)
    found = [page.evaluate(MEASURE, labels[place % len(labels)]) for place in range(repeats)]
    return [float(value) for value in found if value > 0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--chromium", default=shutil.which("chromium") or shutil.which("google-chrome"))
    arguments = parser.parse_args()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    with tempfile.TemporaryDirectory() as home:
        environment = {"RIGHTSIZE_HOME": home, **os.environ, "PYTHONPATH": str(REPOSITORY)}
        command = [sys.executable, "-m", "recommender.cli", "serve", "--no-browser", "--port", address[17:]]
        server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        try:
            wait_for(f"{address}/api/health")
            with sync_playwright() as started:
                browser = started.chromium.launch(
                    executable_path=arguments.chromium, args=["--no-sandbox", "--disable-gpu", "--disable-quic"]
                )
                page = browser.new_page(viewport={"width": 1280, "height": 900})
                page.goto(address)
                page.locator(".st-key-answer").wait_for(timeout=120_000)
                page.wait_for_timeout(3000)
                values = changes(page, arguments.repeats)
                browser.close()
        finally:
            server.terminate()
            server.wait()
    if not values:
        raise SystemExit("The answer never changed.")
    result = {
        "what": "changed input to changed answer",
        "median_ms": round(statistics.median(values)),
        "fastest_ms": round(min(values)),
        "slowest_ms": round(max(values)),
        "repeats": len(values),
        "load_average": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
    }
    if arguments.markdown:
        print("| " + " | ".join(result) + " |\n|" + " --- |" * len(result))
        print("| " + " | ".join(str(value) for value in result.values()) + " |")
    else:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
