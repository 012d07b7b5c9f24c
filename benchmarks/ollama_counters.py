"""Ollama through us against ``ollama run --verbose``: are the figures the same?

    PYTHONPATH=. python benchmarks/ollama_counters.py --model NAME --ollama PROGRAM

Both go through a recording proxy on this machine to the server at OLLAMA_HOST. From each answer's last chunk the
figures are worked out as the documentation has it (count ÷ nanoseconds) and held against what the program printed and
against what our run reports. The two run alternately, A B A B, so their speeds can be compared as well.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

from recommender.runner import RunManager, RunRequest, protocol
from recommender.runner.ollama_server import connected, find_server, remove_model
from recommender.trial import usual_settings

FIELDS = ("prompt_eval_count", "prompt_eval_duration", "eval_count", "eval_duration")
GEN_TOKENS = 128
_OF_THE_HOP = ("host", "connection", "content-length", "transfer-encoding", "accept-encoding")
PROMPT = "Count from one to one thousand in words."


class Recorder(ThreadingHTTPServer):
    """Hands every request on and keeps the last chunk of every answer."""

    daemon_threads = True

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = upstream
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
        with httpx.stream(
            self.command, self.server.upstream + self.path, content=body, headers=headers, timeout=600, trust_env=False
        ) as answer:
            self.send_response(answer.status_code)
            self.send_header("Content-Type", answer.headers.get("Content-Type", ""))
            self.end_headers()
            for line in answer.iter_lines():
                self.wfile.write(line.encode() + b"\n")
                self.wfile.flush()
                if '"done":true' in line and "eval_count" in line:
                    self.server.last_chunks.append(json.loads(line))

    do_GET = do_POST = do_HEAD = do_DELETE = _forward


def by_their_program(program: str, model: str, recorder: Recorder) -> tuple[dict[str, float], dict[str, Any]]:
    """What the program prints, and the chunk it printed that from."""
    environment = {**os.environ, "OLLAMA_HOST": recorder.url}
    command = [program, "run", "--verbose", model, PROMPT]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=600)
    printed = {
        name: float(value) for name, value in re.findall(r"((?:prompt )?eval (?:count|rate)):\s+([\d.]+)", done.stderr)
    }
    return printed, recorder.last_chunks[-1]


def by_us(model: str, threads: int, recorder: Recorder) -> list[tuple[protocol.Repeat, dict[str, Any]]]:
    """Each repeat as our run reports it, and the chunk it came from."""
    os.environ["OLLAMA_HOST"] = recorder.url
    request = RunRequest(
        model,
        "",
        usual_settings(4096, threads, 0),
        runtime="ollama",
        file=model,
        prompt_tokens=64,
        gen_tokens=GEN_TOKENS,
        repeats=3,
    )
    manager = RunManager()
    job = manager.submit(request)
    job.wait(600)
    manager.close()
    if job.error:
        raise SystemExit(job.error)
    repeats = [event for event in job.events if isinstance(event, protocol.Repeat)]
    return list(zip(repeats, recorder.last_chunks[-len(repeats) :], strict=True))


def rates(chunk: dict[str, Any]) -> tuple[float, float]:
    """Tokens per second of prompt and answer, by the documentation's formula."""
    prompt, prompt_ns, gen, gen_ns = (chunk[name] for name in FIELDS)
    return prompt / prompt_ns * 1e9, gen / gen_ns * 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a model that the server has")
    parser.add_argument("--ollama", default="ollama", help="the program (ollama, from PATH)")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    server = find_server().host
    recorder = Recorder(server)
    limited = f"{arguments.model.replace(':', '-')}-rightsize-benchmark"
    threading.Thread(target=recorder.serve_forever, daemon=True).start()
    with connected() as client:  # the program has no option for these
        client.create(
            limited, from_=arguments.model, parameters={"num_predict": GEN_TOKENS, "num_thread": arguments.threads}
        )
    equal = True
    speeds: dict[str, list[float]] = {"theirs": [], "ours": []}
    for pair in range(arguments.pairs):
        printed, chunk = by_their_program(arguments.ollama, limited, recorder)
        prompt_rate, gen_rate = rates(chunk)
        same = (
            printed["prompt eval count"] == chunk["prompt_eval_count"]
            and printed["eval count"] == chunk["eval_count"]
            and abs(printed["prompt eval rate"] - prompt_rate) <= 0.01
            and abs(printed["eval rate"] - gen_rate) <= 0.01
        )
        print(f"theirs {pair + 1}: {printed}; from the chunk {prompt_rate:.2f} and {gen_rate:.2f} tok/s, equal: {same}")
        equal = equal and same
        speeds["theirs"].append(gen_rate)
        for repeat, own in by_us(limited, arguments.threads, recorder):
            prompt_rate, gen_rate = rates(own)
            same = (
                (repeat.prompt_tokens, repeat.gen_tokens) == (own["prompt_eval_count"], own["eval_count"])
                and abs(repeat.prefill_tokens_per_s / prompt_rate - 1) < 1e-9
                and abs(repeat.decode_tokens_per_s / gen_rate - 1) < 1e-9
            )
            print(
                f"ours {pair + 1}.{repeat.number}: {repeat.prompt_tokens} at {repeat.prefill_tokens_per_s:.2f}, "
                f"{repeat.gen_tokens} at {repeat.decode_tokens_per_s:.2f} tok/s; from the chunk {prompt_rate:.2f} and "
                f"{gen_rate:.2f}, equal: {same}"
            )
            equal = equal and same
            speeds["ours"].append(gen_rate)
    ours, theirs = (statistics.median(speeds[name]) for name in ("ours", "theirs"))
    print(f"decode: ours {ours:.1f}, theirs {theirs:.1f} tok/s, ratio of medians {ours / theirs:.3f}")
    os.environ["OLLAMA_HOST"] = server
    remove_model(limited)
    print(f"all counters equal: {'yes' if equal else 'no'}")
    raise SystemExit(0 if equal else 1)


if __name__ == "__main__":
    main()
