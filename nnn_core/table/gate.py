"""A gate: one measure of a version in the making against its threshold, with the verdict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

Verdict = Literal["pass", "fail", "skipped"]

SWITCHED_OFF = "switched off: the threshold is null"


@dataclass(frozen=True)
class Gate:
    """What was measured, what was allowed, and what follows.

    Attributes:
        name: the gate's, as in the file of thresholds and for ``--accept``.
        value: what was measured; None where it could not be.
        threshold: the bound that the value was held against; None where the gate is switched off.
        verdict: pass, fail, or skipped.
        sentence: the same for people; where skipped, the reason.
        accepted: whether a failure was overridden by name.
    """

    name: str
    value: float | None
    threshold: float | None
    verdict: Verdict
    sentence: str
    accepted: bool = False

    @property
    def blocks(self) -> bool:
        """Whether the version may not be published because of it."""
        return self.verdict == "fail" and not self.accepted

    def accept(self) -> Gate:
        """The same, overridden if it failed."""
        return replace(self, accepted=self.verdict == "fail")


def at_most(name: str, value: float | None, limit: float | None, what: str, missing: str = "") -> Gate:
    """A gate that fails above ``limit``; what is not a number fails too.

    Args:
        name: of the gate.
        value: what was measured; None to skip.
        limit: None to skip.
        what: the measure in words, the subject of the sentence.
        missing: why there is no value.
    """
    return _held(name, value, limit, f"{what} is", "at most", missing, lambda v, bound: v <= bound)


def at_least(name: str, value: float | None, limit: float | None, what: str, missing: str = "") -> Gate:
    """A gate that fails below ``limit``; see ``at_most``."""
    return _held(name, value, limit, f"{what} is", "at least", missing, lambda v, bound: v >= bound)


def _held(
    name: str,
    value: float | None,
    limit: float | None,
    what: str,
    relation: str,
    missing: str,
    holds: Callable[[float, float], bool],
) -> Gate:
    if limit is None:
        return Gate(name, None, None, "skipped", SWITCHED_OFF)
    # Six digits: what a library's last bits are must not reach the manifest.
    bound = float(f"{limit:.6g}")
    if value is None:
        return Gate(name, None, bound, "skipped", missing)
    rounded = float(f"{value:.6g}")
    sentence = f"{what} {rounded:g}, allowed is {relation} {bound:g}"
    return Gate(name, rounded, bound, "pass" if holds(rounded, bound) else "fail", sentence)
