"""Make ``docs/first-screen.png``: the first screen for a machine of the list, from the running app.

    python scripts/screenshot.py [--machine "MacBook Air M2 (2022)"] [--out docs/first-screen.png]

Starts the app on a free port, so nothing else needs to run. Needs the ``dev`` extra and Chromium.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path

from playwright.sync_api import sync_playwright

REPOSITORY = Path(__file__).resolve().parent.parent
MACHINE = "MacBook Air M1 (2020)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--machine", default=MACHINE, help="name of a preset")
    parser.add_argument("--task", default="Chat")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "docs" / "first-screen.png")
    parser.add_argument("--scheme", choices=("light", "dark"), default="light")
    parser.add_argument("--chromium", default=shutil.which("chromium") or shutil.which("google-chrome"))
    arguments = parser.parse_args()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    question = {"device": "From the list", "preset": arguments.machine}
    if arguments.task != "Chat":
        question["task"] = arguments.task
    address = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as home:
        environment = {"RIGHTSIZE_HOME": home, **os.environ, "PYTHONPATH": str(REPOSITORY)}
        command = [sys.executable, "-m", "recommender.cli", "serve", "--no-browser", "--port", str(port)]
        server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        try:
            for _ in range(600):
                try:
                    urllib.request.urlopen(f"{address}/api/health", timeout=2).close()
                    break
                except OSError:
                    time.sleep(0.1)
            with sync_playwright() as started:
                browser = started.chromium.launch(
                    executable_path=arguments.chromium, args=["--no-sandbox", "--disable-gpu", "--disable-quic"]
                )
                page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme=arguments.scheme)
                page.goto(f"{address}/?{urllib.parse.urlencode(question)}")
                page.locator(".st-key-answer code").wait_for(timeout=120_000)
                page.wait_for_timeout(2000)
                arguments.out.parent.mkdir(parents=True, exist_ok=True)
                page.screenshot(path=arguments.out)
                browser.close()
        finally:
            server.terminate()
            server.wait()
    print(f"{arguments.out}: {arguments.out.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
