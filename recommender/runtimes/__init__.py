"""Runtimes: what each needs, what it takes, and the command and the recipe that run a pick on it."""

from recommender.runtimes.base import Runtime, RuntimeModel, TableRuntime
from recommender.runtimes.recipe import Recipe, Step
from recommender.runtimes.registry import all_runtimes, register, runtime

__all__ = ["Recipe", "Runtime", "RuntimeModel", "Step", "TableRuntime", "all_runtimes", "register", "runtime"]
