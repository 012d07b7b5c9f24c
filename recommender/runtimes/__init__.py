"""Runtimes: what each needs, what it takes, and the command that runs a pick on it."""

from recommender.runtimes.base import Runtime, RuntimeModel, TableRuntime
from recommender.runtimes.registry import all_runtimes, register, runtime

__all__ = ["Runtime", "RuntimeModel", "TableRuntime", "all_runtimes", "register", "runtime"]
