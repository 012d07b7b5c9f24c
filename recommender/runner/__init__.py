"""Runs models on this machine, each run in a process of its own, and measures them."""

from recommender.runner.bindings import Binding, available_bindings
from recommender.runner.gguf_header import GgufHeader, read_header
from recommender.runner.hub import FileChoice, cached, download, resolve_file
from recommender.runner.job import Job
from recommender.runner.jobs import RunManager
from recommender.runner.measure import measure
from recommender.runner.protocol import Message, RunRequest

__all__ = [
    "Binding",
    "FileChoice",
    "GgufHeader",
    "Job",
    "Message",
    "RunManager",
    "RunRequest",
    "available_bindings",
    "cached",
    "download",
    "measure",
    "read_header",
    "resolve_file",
]
