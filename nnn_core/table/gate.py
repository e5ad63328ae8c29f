"""A gate: one measure of a version in the making against its threshold, with the verdict."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Verdict = Literal["pass", "fail", "skipped"]


@dataclass(frozen=True)
class Gate:
    """What was measured, what was allowed, and what follows.

    Attributes:
        name: word for the gate in the file of thresholds and for ``--accept``.
        value: what was measured; None where it could not be.
        threshold: the bound that the value was held against; None where the gate is switched off.
        verdict: pass, fail, or skipped.
        sentence: value and threshold in words; of a gate that was skipped, the reason.
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
