"""Ollama through us against ``ollama run --verbose``: are the figures the same?

    PYTHONPATH=. python benchmarks/ollama_counters.py --model NAME --ollama PROGRAM

Both go through a recording proxy on this machine to the server at OLLAMA_HOST, alternately, A B A B. Of each answer
the last chunk is kept: what our reader makes of the program's is held against what the program printed, and what our
run reports against what the program would print of ours. Decode speeds are of the same number of tokens.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import threading
from collections.abc import Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import ollama

from recommender.errors import RecommenderError
from recommender.runner import RunManager, RunRequest, protocol
from recommender.runner.ollama_runner import counters
from recommender.runner.ollama_server import connected, find_server, remove_model, unload
from recommender.trial import usual_settings
from recommender.types import Settings

GEN_TOKENS = 128
CONTEXT_TOKENS = 1024
PROMPT = "Write the numbers from one to one thousand in words, one after another, and nothing else."
_OF_THE_HOP = ("host", "connection", "content-length", "transfer-encoding", "accept-encoding")
_UNITS_NS = {"ns": 1, "µs": 1e3, "ms": 1e6, "s": 1e9, "m": 60e9, "h": 3600e9}
_TAIL_BYTES = 1 << 20  # more than a last chunk has


class Recorder(ThreadingHTTPServer):
    """Hands every request on and keeps the last chunk of every answer that has counters."""

    daemon_threads = True

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = httpx.Client(base_url=upstream, timeout=600.0, trust_env=False)
        self.last_chunks: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Recorder

    def log_message(self, *arguments: object) -> None:
        pass

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _OF_THE_HOP}
        headers["Accept-Encoding"] = "identity"
        with self.server.upstream.stream(self.command, self.path, content=body, headers=headers) as answer:
            self.send_response(answer.status_code)
            self.send_header("Content-Type", answer.headers.get("Content-Type", ""))
            self.end_headers()
            tail = b""
            for piece in answer.iter_raw():
                tail = (tail + piece)[-_TAIL_BYTES:]
                if b"eval_duration" in piece:  # at once: the client may be gone after it
                    self.server.last_chunks.append(json.loads(tail.strip().rsplit(b"\n", 1)[-1]))
                self.wfile.write(piece)

    do_GET = do_POST = do_HEAD = do_DELETE = _forward


def by_their_program(program: str, model: str, recorder: Recorder) -> tuple[dict[str, str], dict[str, Any]]:
    """What the program prints, by its own names, and the chunk it printed that from."""
    environment = {**os.environ, "OLLAMA_HOST": recorder.url}
    command = [program, "run", "--verbose", model, PROMPT]
    before = len(recorder.last_chunks)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=600)
    if len(recorder.last_chunks) == before:
        raise SystemExit("The server broke its answer off, without its counters. Run it again.")
    printed = re.findall(r"((?:prompt eval|eval|load) (?:count|duration|rate)):\s+(\S+)", done.stderr)
    return dict(printed), recorder.last_chunks[-1]


def by_us(
    model: str, settings: Settings, prompt_tokens: int, recorder: Recorder
) -> list[tuple[protocol.Repeat, dict[str, Any]]]:
    """Each repeat as our run reports it, and the chunk it came from."""
    os.environ["OLLAMA_HOST"] = recorder.url
    counts = {"prompt_tokens": prompt_tokens, "gen_tokens": GEN_TOKENS, "repeats": 3}
    request = RunRequest(model, "", settings, runtime="ollama", file=model, **counts)
    manager = RunManager()
    job = manager.submit(request)
    job.wait(600)
    manager.close()
    if job.error:
        raise SystemExit(job.error)
    repeats = [event for event in job.events if isinstance(event, protocol.Repeat)]
    return list(zip(repeats, recorder.last_chunks[-len(repeats) :], strict=True))


def figures(printed: Mapping[str, str]) -> dict[str, float]:
    """What the program printed as numbers: counts, rates in tok/s and durations in ns."""
    found = {}
    for name, text in printed.items():
        parts = re.findall(r"([\d.]+)(ns|µs|ms|s|m|h)", text)
        found[name] = round(sum(float(value) * _UNITS_NS[unit] for value, unit in parts)) if parts else float(text)
    return found


def by_our_reader(chunk: Mapping[str, Any]) -> dict[str, float]:
    """The same figures as our run reads them from a chunk, rounded as the program prints them."""
    run = counters(ollama.GenerateResponse(**chunk), 0.0)
    return {
        "load duration": round(run.load_s * 1e9),
        "prompt eval count": run.prompt_tokens,
        "prompt eval duration": round(run.prompt_s * 1e9),
        "prompt eval rate": round(run.prompt_tokens / run.prompt_s, 2),
        "eval count": run.gen_tokens,
        "eval duration": round(run.gen_tokens / run.decode_tokens_per_s * 1e9),
        "eval rate": round(run.decode_tokens_per_s, 2),
    }


def reported(repeat: protocol.Repeat) -> dict[str, float]:
    """What a repeat of our run says, by the program's names and rounded as it prints."""
    return {
        "prompt eval count": repeat.prompt_tokens,
        "prompt eval rate": round(repeat.prefill_tokens_per_s, 2),
        "eval count": repeat.gen_tokens,
        "eval rate": round(repeat.decode_tokens_per_s, 2),
    }


def as_printed(chunk: Mapping[str, Any]) -> dict[str, float]:
    """What the program prints of a chunk (``Metrics.Summary`` in its api/types.go)."""
    found: dict[str, float] = {}
    for name in ("prompt_eval", "eval"):
        count, duration_ns = chunk[f"{name}_count"], chunk[f"{name}_duration"]
        found[f"{name} count".replace("_", " ")] = count
        found[f"{name} rate".replace("_", " ")] = round(count / (duration_ns / 1e9), 2)
    return found


def compared(title: str, ours: Mapping[str, float], theirs: Mapping[str, float]) -> bool:
    """Print both side by side; whether all are equal."""
    print(f"{title:20s} {'ours':>16s} {'ollama':>16s}")
    for name, value in ours.items():
        print(f"{name:20s} {value:16,.2f} {theirs[name]:16,.2f}{'' if value == theirs[name] else '  DIFFERENT'}")
    return ours == theirs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a model that the server has")
    parser.add_argument("--ollama", default="ollama", help="the program (ollama, from PATH)")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    server = find_server()
    recorder = Recorder(server.host)
    threading.Thread(target=recorder.serve_forever, daemon=True).start()
    limited = f"{arguments.model.replace(':', '-')}-rightsize-benchmark"
    equal = []
    speeds: dict[str, list[float]] = {"ours": [], "ollama": []}
    settings = usual_settings(CONTEXT_TOKENS, arguments.threads, 0)
    options = {"num_ctx": CONTEXT_TOKENS, "num_batch": settings.batch_tokens, "num_thread": arguments.threads}
    with connected() as client:  # the program has no option for these
        client.create(limited, from_=arguments.model, parameters={**options, "num_predict": GEN_TOKENS, "num_gpu": 0})
    try:
        for pair in range(1, arguments.pairs + 1):
            printed, chunk = by_their_program(arguments.ollama, limited, recorder)
            equal.append(compared(f"A{pair} (times in ns)", by_our_reader(chunk), figures(printed)))
            speeds["ollama"].append(figures(printed)["eval rate"])
            for repeat, own in by_us(limited, settings, chunk["prompt_eval_count"], recorder):
                equal.append(compared(f"B{pair}, repeat {repeat.number}", reported(repeat), as_printed(own)))
                speeds["ours"].append(repeat.decode_tokens_per_s)
    finally:
        os.environ["OLLAMA_HOST"] = server.host
        unload(limited)
        with suppress(RecommenderError):
            remove_model(limited)
    ours, theirs = (statistics.median(speeds[name]) for name in ("ours", "ollama"))
    print(
        f"decode of {GEN_TOKENS} tokens, medians: ours {ours:.1f}, ollama {theirs:.1f} tok/s, ratio {ours / theirs:.3f}"
    )
    print(f"Ollama {server.version}, {len(equal)} answers, equal: {'yes' if all(equal) else 'no'}")
    raise SystemExit(0 if all(equal) else 1)


if __name__ == "__main__":
    main()
