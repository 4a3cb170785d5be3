"""Engines: the same network on the library that runs it fastest here, checked against float32."""

from detector.engines.base import Engine, Parts, Values, Work
from detector.engines.choice import prepare

__all__ = ["Engine", "Parts", "Values", "Work", "prepare"]
