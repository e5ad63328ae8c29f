"""``nnn refresh --with-plan``: what a plan foretold, and what the run then did."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nnn_core.planning.costs import Hours, Rates, machine_memory
from nnn_core.planning.plan import Plan, SidePlan
from nnn_core.report.numbers import seconds, size
from pipelines.commands._foretold import Foretold, format_dollars, format_hours
from pipelines.commands._output import in_columns
from pipelines.stages.metrics import PAIRS, PEAK_BYTES, READ, ROWS, SHUFFLED, WRITTEN, StageName

#: Seconds of one kind of work from which a rate follows; in less, start-up shows.
_ENOUGH = 10.0


def compare(foretold: Foretold, summary: Mapping[str, Any], processes: int | None) -> dict[str, Any]:
    """Amounts and machine time, as planned and as done, and the rates of this machine; for JSON.

    What was done has a price where the rates have one type of worker, on which the job must then have run.

    Args:
        foretold: the plan that was made before the run.
        summary: summary of the finished run, by name.
        processes: worker processes of a run on this machine alone; None for as many a machine as the rates say.
    """
    done, workers = _Done(summary), foretold.rates.workers
    only = next(iter(workers.values())) if len(workers) == 1 else None
    hours = done.hours(processes or (only.processes if only else 1))
    shuffled = done.total(SHUFFLED, StageName.MERGE_PARTIALS)
    return {
        "amounts": _amounts(foretold, done),
        "planned": {cost.worker: _spent(cost.hours, cost.dollars) for cost in foretold.rates.estimate(foretold.work)},
        "done": _spent(hours, foretold.rates.price(hours, shuffled, only) if only else None),
        "seconds": summary["seconds"],
        "rates": done.rates(foretold.plan, processes) if processes else {},
    }


def _spent(hours: Hours, dollars: float | None) -> dict[str, Any]:
    return {"hours": dataclasses.asdict(hours), "dollars": dollars}


def _amounts(foretold: Foretold, done: _Done) -> dict[str, dict[str, float]]:
    found, work = foretold.plan, foretold.work
    pairs = {
        **{stage: (side.rows_todo, done.total(ROWS, stage)) for stage, side in _embedding(found)},
        StageName.SCORE_CANDIDATES.value: (found.pairs_todo, done.total(PAIRS, StageName.SCORE_CANDIDATES)),
        "merging_bytes": (round(work.merging_bytes), done.total(READ, StageName.MERGE_PARTIALS)),
        "written_bytes": (round(work.written_bytes), done.total(WRITTEN)),
        "shuffled_bytes": (round(work.shuffled_bytes), done.total(SHUFFLED, StageName.MERGE_PARTIALS)),
        "peak_bytes": (round(work.peak_bytes), done.summary[PEAK_BYTES]),
    }
    return {name: {"planned": planned, "done": each} for name, (planned, each) in pairs.items()}


def _embedding(found: Plan) -> Iterator[tuple[str, SidePlan]]:
    """Stages that embed, with what they embed."""
    return ((StageName(f"embed_{side.flag}").value, side) for side in found.sides)


@dataclass(frozen=True)
class _Done:
    """What a run did.

    Attributes:
        summary: summary of the finished run, by name.
    """

    summary: Mapping[str, Any]

    def total(self, what: str, *stages: str) -> float:
        """A figure added up over stages, by default over all of them."""
        figures: Mapping[str, Mapping[str, float]] = self.summary["stages"]
        return sum(figures.get(stage, {}).get(what) or 0 for stage in stages or figures)

    def hours(self, processes: int) -> Hours:
        """Of machines with so many processes, all at work."""
        embed = (StageName.EMBED_CANDIDATES, StageName.EMBED_REFERENCES, StageName.EMBED_VALIDATION)
        kinds = (embed, (StageName.SCORE_CANDIDATES,), (StageName.MERGE_PARTIALS,))
        return Hours(*(self.total("seconds", *stages) / processes / 3600 for stages in kinds))

    def rates(self, found: Plan, processes: int) -> dict[str, float]:
        """Of this machine, as a ``Worker`` has them; of work that took long enough."""
        spent = self.total("search_seconds", StageName.SCORE_CANDIDATES)
        flop = 2.0 * self.summary["dim"] * self.total(PAIRS, StageName.SCORE_CANDIDATES)
        rates = {"gflops": flop / spent / 1e9 * processes} if spent >= _ENOUGH else {}
        for modality in ("image", "text"):
            stages = [stage for stage, side in _embedding(found) if side.model and side.modality == modality]
            spent = self.total("seconds", *stages)
            if spent >= _ENOUGH:
                rates[f"{modality}s_per_second"] = self.total(ROWS, *stages) / spent * processes
        measured = {name: float(f"{rate:.3g}") for name, rate in rates.items()}
        return measured | {"memory_gib": round(machine_memory() / 2**30, 1), "processes": processes}


#: What is counted in a stage, and what bytes are called.
_COUNTED = {StageName.SCORE_CANDIDATES.value: "pairs"}
_BYTES = {
    "merging_bytes": "merge_partials, read",
    "written_bytes": "written",
    "shuffled_bytes": "shuffled",
    "peak_bytes": "memory of a process, at most",
}


def describe_comparison(compared: Mapping[str, Any], rates: Rates) -> Iterator[str]:
    """The comparison for a person.

    Args:
        compared: the comparison that ``compare`` returned.
        rates: rates of workers that the plan was priced by.
    """
    rows = [("planned and done", "planned", "done")]
    for name, amount in compared["amounts"].items():
        spell = size if name in _BYTES else "{:,}".format
        title = _BYTES.get(name) or f"{name}, {_COUNTED.get(name, 'rows')}"
        rows.append((title, spell(amount["planned"]), spell(amount["done"])))
    yield from in_columns(rows)
    spent = [_line(f"planned on {name}", each) for name, each in compared["planned"].items()]
    heading = ("machine time", "embedding", "scoring", "merging", "cost")
    yield from in_columns([heading, *spent, _line("done", compared["done"])])
    yield f"The run took {seconds(compared['seconds'])} in all, with start-up and all other stages."
    if compared["rates"]:
        yield from _describe_rates(compared["rates"], rates)


def _line(title: str, spent: Mapping[str, Any]) -> tuple[str, ...]:
    dollars = "" if spent["dollars"] is None else format_dollars(spent["dollars"])
    return title, *format_hours(Hours(**spent["hours"])), dollars


def _describe_rates(measured: Mapping[str, float], rates: Rates) -> Iterator[str]:
    """A file that --rates takes."""
    yield f"This machine as a file for --rates; stages under {_ENOUGH:g} s are not measured:"
    yield "workers:"
    yield "  this machine:"
    for name, value in next(iter(rates.workers.values())).model_dump().items():
        yield f"    {name}: {measured[name]:g}" if name in measured else f"    {name}: {value:g}  # not measured"
