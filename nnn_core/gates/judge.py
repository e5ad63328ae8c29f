"""All gates on one version in the making, and the refusal to publish it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from nnn_core import storage
from nnn_core.digests import sha256
from nnn_core.errors import ConfigError, GateError
from nnn_core.gates.catalogue import GONE, RULES, _Rule
from nnn_core.gates.facts import Facts
from nnn_core.gates.thresholds import Thresholds
from nnn_core.table.gate import Gate


def judge(facts: Facts, thresholds: Thresholds, accepted: Sequence[str] = ()) -> tuple[Gate, ...]:
    """Every gate, in the order of the catalogue.

    Args:
        facts: what is known of the version that is judged.
        thresholds: bound of each gate; a gate whose bound is None is skipped.
        accepted: names of gates whose failure is overridden.
    """
    shared = facts.shared_queries
    words = {
        "k": facts.manifest.settings.grid[-1],
        "changed": ", ".join(facts.changed_settings or ["none"]),
        "alpha": facts.manifest.settings.alpha,
        "deviations": thresholds.hub_deviations,
        "shift": facts.rows.shift,
        "shared": f", with {shared} queries that are in the bank" if shared else "",
    }
    gates = [_hold(rule, facts, thresholds, words) for rule in RULES]
    return tuple(gate.accept() if gate.name in accepted else gate for gate in gates)


def _hold(rule: _Rule, facts: Facts, thresholds: Thresholds, words: Mapping[str, object]) -> Gate:
    """One gate; what is not a number fails."""
    limit = getattr(thresholds, rule.name)
    if limit is None:
        return Gate(rule.name, None, None, "skipped", "switched off: its limit is null")
    # Six digits: what a library's last bits are must not reach the manifest.
    bound = float(f"{limit:.6g}")
    measured = rule.measure(facts, thresholds)
    if rule.of_input and facts.base is not None:
        measured = f"judged before: the means are those of version {facts.base}"
    if isinstance(measured, str):
        return Gate(rule.name, None, bound, "skipped", measured)
    value = float(f"{measured:.6g}")
    passes = value <= bound if rule.direction == "at most" else value >= bound
    finding = rule.finding.format_map({**words, "value": rule.shown(value, 6)})
    sentence = f"{finding} (limit: {rule.direction} {rule.shown(bound, 6)})"
    return Gate(rule.name, value, bound, "pass" if passes else "fail", sentence)


def check_accepted(names: Sequence[str]) -> None:
    """Refuse to override what is no gate.

    Raises:
        ConfigError: naming the gates there are, or what covers one of an earlier release.
    """
    known = [rule.name for rule in RULES]
    for name in names:
        if name not in known:
            why = GONE.get(name) or f"there is no such gate; the gates are {', '.join(known)}"
            raise ConfigError(f"--accept {name}: {why}.")


def refusal(gates: Sequence[Gate], work: str) -> GateError:
    """The error that refuses to publish a version; lists its gates in a file below ``work``.

    Args:
        gates: verdicts of all gates, as ``judge`` returns them, of which some block.
        work: URI of the folder of artefacts, below which the gates are listed.

    Returns:
        The error to raise, which names each gate that blocks, with value, threshold and remedy.
    """
    data = json.dumps({"gates": [asdict(gate) for gate in gates]}, indent=1, sort_keys=True).encode() + b"\n"
    listed = storage.join(work, "gates", f"{sha256(data)[:16]}.json")
    storage.create(listed, data)
    failed = [(gate, rule.remedy) for gate, rule in zip(gates, RULES, strict=True) if gate.blocks]
    lines = "".join(f"\n  {gate.name}: {gate.sentence}. {remedy}" for gate, remedy in failed)
    flags = " ".join(f"--accept {gate.name}" for gate, _ in failed)
    return GateError(
        f"{len(failed)} of {len(gates)} gates failed, so nothing was published:{lines}\nAll gates are listed in "
        f"{listed}. If you want this change, run the same command again with {flags}. Finished work is kept."
    )
