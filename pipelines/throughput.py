"""How fast stages went, and how much of its time a model was at work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.metrics import MODEL_HAD_MSEC, MODEL_MSEC, MSEC, ROWS


def speed_of(counters: Mapping[str, int]) -> dict[str, float]:
    """Rows a second of work, and the share of its time that the model was not waiting.

    Args:
        counters: of a stage.
    """
    speed = {}
    if counters.get(ROWS) and counters.get(MSEC):
        speed["rows_per_second"] = round(1000 * counters[ROWS] / counters[MSEC], 1)
    if counters.get(MODEL_HAD_MSEC):
        speed["model_utilisation"] = round(counters.get(MODEL_MSEC, 0) / counters[MODEL_HAD_MSEC], 3)
    return speed


def describe_models(stages: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """A line for each stage that ran a model.

    Args:
        stages: of a run's summary.
    """
    for name, figures in stages.items():
        if "model_utilisation" not in figures:
            continue
        rate = f" at {figures['rows_per_second']:,.1f} a second" if "rows_per_second" in figures else ""
        busy = f"the model at work {100 * figures['model_utilisation']:.0f} % of its time"
        line = f"{name}: {figures.get('rows', 0):,} rows{rate}, {busy}"
        cut = figures.get("truncated", 0)
        yield line + (f"; {cut:,} captions are longer than the model takes, and were cut" if cut else "")
