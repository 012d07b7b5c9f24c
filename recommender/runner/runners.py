"""The runtimes that can run here, behind one interface: is it there, what will a run cost, run it, stop it.

Each run is a process of its own (two, when a file is fetched first), whose events are handed on as they come.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from recommender.errors import Cancelled, RecommenderError, RunError
from recommender.runner import child, hub, ollama_server, onnx_folder, protocol
from recommender.runner.bindings import choose_binding
from recommender.runner.protocol import Command, Event, RunRequest
from recommender.types import GIB

_RESULTS = (
    protocol.Loaded,
    protocol.Result,
    protocol.Answered,
    protocol.Checked,
    protocol.Ready,
    protocol.FileReady,
)

OnEvent = Callable[[Event], None]


@dataclass(frozen=True)
class Availability:
    """Whether a runtime is there. ``advice`` says how to get or start it when it is not."""

    name: str  # with its version, such as "xllamacpp 2026.10.11549"
    ready: bool
    advice: str = ""


@dataclass(frozen=True)
class Plan:
    """What a run will take before its model is loaded. ``problem`` is a sentence when it cannot work, else ""."""

    download_bytes: float | None  # None: only the server knows
    disk_bytes: float  # that will be written
    problem: str = ""


class Runner(Protocol):
    """One runtime. An object carries out one run; another thread may stop it and give it commands."""

    def probe(self) -> Availability:
        """Look for the runtime; nothing is started."""

    def plan(self, request: RunRequest) -> Plan:
        """What the run will download and write, without asking the network."""

    def run(self, request: RunRequest, on_event: OnEvent) -> None:
        """Run to the end, handing on events.

        Raises:
            Cancelled: it was stopped.
            RecommenderError: the run reported it, or its process died.
        """

    def stop(self) -> None:
        """End the run now. Its process is gone when this returns."""

    def tell(self, command: Command) -> None:
        """Give a run whose model is kept loaded a command."""

    @property
    def pid(self) -> int | None:
        """The run's process while there is one."""


class _ProcessRunner:
    """What all runners share: one child after another, until one is stopped."""

    _MODULE = ""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: child.Child | None = None
        self._stopped = False

    def run(self, request: RunRequest, on_event: OnEvent) -> None:
        if not isinstance(self._play(self._MODULE, request, on_event), _RESULTS):
            raise RunError("The run ended without a result. Run it again.")

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            running = self._child
        if running is not None:
            running.kill()

    def tell(self, command: Command) -> None:
        running = self._child
        if running is not None:
            running.tell(command)

    @property
    def pid(self) -> int | None:
        running = self._child
        return running.pid if running is not None else None

    def _play(self, module: str, request: object, on_event: OnEvent) -> Event | None:
        """Run one child to its end; returns its last result."""
        self._check()
        running = child.start(module, request)
        with self._lock:
            self._child = running
        if self._stopped:  # in between
            running.kill()
        result: Event | None = None
        failure: RecommenderError | None = None
        ended = False
        try:
            for event in running.events():
                if isinstance(event, protocol.Error):
                    failure = protocol.error_from(event)
                if isinstance(event, _RESULTS):
                    result = event
                on_event(event)
            ended = True
        finally:
            if not ended:  # a listener failed
                running.kill()
            with self._lock:
                self._child = None
            died = running.finish()
        self._check()
        if failure is not None:
            raise failure
        if died is not None:
            raise died
        return result

    def _check(self) -> None:
        if self._stopped:
            raise Cancelled("Stopped.")


class LlamaCppRunner(_ProcessRunner):
    """llama.cpp in a process of ours, through either binding; fetches the file from the Hub where it is not here."""

    _MODULE = "recommender.runner.worker"

    def probe(self) -> Availability:
        try:
            return Availability(choose_binding().name, ready=True)
        except RecommenderError as error:
            return Availability("llama.cpp", ready=False, advice=str(error))

    def plan(self, request: RunRequest) -> Plan:
        if request.model_path:
            return Plan(0.0, 0.0)
        if not (request.repo and request.file and request.expected_file_bytes):  # it is looked up on the Hub first
            return Plan(None, 0.0)
        if hub.cached(request.repo, request.file):
            return Plan(0.0, 0.0)
        missing = max(0.0, request.expected_file_bytes - hub.interrupted_bytes(request.repo, request.file))
        try:
            hub.check_room(missing)
        except RecommenderError as error:
            return Plan(missing, missing, str(error))
        return Plan(missing, missing)

    def run(self, request: RunRequest, on_event: OnEvent) -> None:
        super().run(request if request.model_path else self._fetched(request, on_event), on_event)

    def _fetched(self, request: RunRequest, on_event: OnEvent) -> RunRequest:
        there = hub.cached(request.repo, request.file)
        if there is not None:
            known = hub.known_sha256(there)
            return dataclasses.replace(request, model_path=str(there), file_sha256=known or request.file_sha256)
        wanted = hub.DownloadRequest(request.repo, request.file, request.revision, request.most_download_bytes)
        ready = self._play("recommender.runner.download_worker", wanted, on_event)
        if not isinstance(ready, protocol.FileReady):
            raise RunError("The download ended without a file. Try it again.")
        if not Path(ready.path).is_file():
            raise RunError(f"{ready.path} was removed before it could be loaded. Try it again.")
        return dataclasses.replace(request, model_path=ready.path, file_sha256=ready.sha256)


class OllamaRunner(_ProcessRunner):
    """Models of an Ollama server: those it has, those it can pull, and GGUF files that are copied into it."""

    _MODULE = "recommender.runner.ollama_runner"

    def probe(self) -> Availability:
        try:
            server = ollama_server.find_server()
        except RecommenderError as error:
            return Availability("Ollama", ready=False, advice=str(error))
        return Availability(f"Ollama {server.version} at {server.host}", ready=True)

    def plan(self, request: RunRequest) -> Plan:
        if not request.model_path:
            return Plan(None, 0.0)
        try:
            size = float(Path(request.model_path).stat().st_size)
            free = ollama_server.free_bytes()
        except FileNotFoundError:
            return Plan(0.0, 0.0, f"There is no file {request.model_path} any more. Choose another.")
        except RecommenderError as error:
            return Plan(0.0, 0.0, str(error))
        if free is None or size <= free:
            return Plan(0.0, size)
        problem = (
            f"Ollama copies the file, which takes {size / GIB:.1f} GiB, and {free / GIB:.1f} GiB are free there: short "
            f"by {(size - free) / GIB:.1f} GiB. Make room, or run it with llama.cpp, which needs no copy."
        )
        return Plan(0.0, size, problem)

    def run(self, request: RunRequest, on_event: OnEvent) -> None:
        was_loaded = ollama_server.is_loaded(request.file)
        try:
            super().run(request, on_event)
        finally:  # also after a stop or a kill: the memory is the server's, which would keep it for minutes
            if not was_loaded:
                ollama_server.unload(request.file)
            if request.rehearsal:
                ollama_server.remove_rehearsals(request.file)


class EndpointRunner(_ProcessRunner):
    """Any server that speaks OpenAI's protocol, at an address the person enters."""

    _MODULE = "recommender.runner.openai_runner"

    def probe(self) -> Availability:
        ready = importlib.util.find_spec("openai") is not None
        return Availability("OpenAI-compatible server", ready, "" if ready else "Add it with `pip install openai`.")

    def plan(self, request: RunRequest) -> Plan:
        return Plan(0.0, 0.0)


class OnnxRunner(_ProcessRunner):
    """A folder for ONNX Runtime GenAI in a process of ours."""

    _MODULE = "recommender.runner.onnx_runner"

    def probe(self) -> Availability:
        library = onnx_folder.installed()
        return Availability(library or "ONNX Runtime GenAI", bool(library), "" if library else onnx_folder.ADVICE)

    def plan(self, request: RunRequest) -> Plan:
        try:
            onnx_folder.read_folder(request.model_path)
        except RecommenderError as error:
            return Plan(0.0, 0.0, str(error))
        return Plan(0.0, 0.0)


_RUNNERS: dict[str, Callable[[], Runner]] = {
    "llama.cpp": LlamaCppRunner,
    "ollama": OllamaRunner,
    "openai": EndpointRunner,
    "onnx-genai": OnnxRunner,
}


def make_runner(runtime: str) -> Runner:
    """A runner for one run with this runtime, one of ``protocol.RUNTIMES``."""
    return _RUNNERS[runtime]()
