"""The engines, as far as an export needs to know them: values, read from ``engines.toml``."""

from __future__ import annotations

from nnn_core.consumers.engines._engine import Engine, engines
from nnn_core.errors import ConfigError

#: What the metrics are called in messages and tables.
METRICS: dict[str, str] = {"ip": "inner product", "cosine": "cosine", "l2": "Euclidean distance"}

#: The engine that is none: its plain search stays as it is, and the order is corrected afterwards.
RERANK = "rerank"


def engine_names() -> list[str]:
    """Every name that ``--engine`` takes."""
    return [*(engine.name for engine in engines()), RERANK]


def find_engine(name: str) -> Engine:
    """The engine of that name.

    Raises:
        ConfigError: there is none.
    """
    found = next((engine for engine in engines() if engine.name == name), None)
    if found is None:
        raise ConfigError(f"--engine {name} is none of {', '.join(engine_names())}.")
    return found
