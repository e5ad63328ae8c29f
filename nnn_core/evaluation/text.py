"""An evaluation as lines of text, from its record in a manifest or a result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_FIGURES = ("recall@1", "recall@5", "recall@10", "mrr", "ndcg@10")


def describe_evaluation(record: Mapping[str, Any]) -> Iterator[str]:
    """What was judged and how it was chosen, and a table of figures before and after.

    Args:
        record: ``summary.Evaluation`` as JSON has it; ``hubness`` (before and after, by name) may be with it.
    """
    point = record["point"]
    yield f"bias         k = {point['k']}, alpha = {point['alpha']:g}{_describe_choice(record['choice'])}"
    missing = f"; {record['missing']:,} relevant candidates are not in the index" if record["missing"] else ""
    yield f"queries      {record['queries']:,} reported on, {record['choosing']:,} chose{missing}"
    yield f"{'':<18}{'before':>10}{'after':>10}{'change':>10}   95 % interval"
    for name in _FIGURES:
        before, after, gain = (record[part][name] for part in ("before", "after", "gain"))
        interval = f"[{gain['low']:+.4f}, {gain['high']:+.4f}]"
        yield f"{name:<18}{before['value']:>10.4f}{after['value']:>10.4f}{gain['value']:>+10.4f}   {interval}"
    first, last = record["median_rank"]
    yield f"{'median rank':<18}{first:>10g}{last:>10g}{last - first:>+10g}"
    hubness = record.get("hubness", {"before": {}})
    for name, value in hubness["before"].items():
        yield f"{name:<18}{value:>10.4f}{hubness['after'][name]:>10.4f}{hubness['after'][name] - value:>+10.4f}"


def _describe_choice(choice: Mapping[str, Any] | None) -> str:
    if choice is None:
        return ""
    text = f", chosen by {choice['objective']} on the other half of the queries"
    if choice["point"]["alpha"] == 0.0:
        gain = choice["gain"]
        text += f"; no gain could be shown (95 % interval [{gain['low']:+.4f}, {gain['high']:+.4f}])"
    return text
