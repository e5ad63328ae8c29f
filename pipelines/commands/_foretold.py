"""What a refresh would compute, found out before it runs, for ``nnn plan`` and ``nnn refresh --with-plan``."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass

from nnn_core.embedded.side import Side
from nnn_core.encoders import EncoderSource
from nnn_core.encoders.fingerprints import differing
from nnn_core.encoders.generations import settle
from nnn_core.encoders.probes import static_parts
from nnn_core.encoders.prompts import Prompts
from nnn_core.encoders.weights import weights_of
from nnn_core.inputs.shards import MODALITIES, Modality
from nnn_core.planning.costs import Hours, Rates, Work
from nnn_core.planning.plan import Plan, SidePlan
from nnn_core.report.numbers import seconds
from nnn_core.scoring.partials import kept_scores
from nnn_core.scoring.scorer import Scorer
from nnn_core.table.lifecycle.cleaning import Needs
from nnn_core.table.manifest import Manifest, current_manifest
from pipelines.config import RefreshConfig

#: What --rates says in place of a file, to have this machine measured.
AUTO = "auto"

#: Dimension of the vectors where nothing tells.
ASSUMED_DIM = 512


@dataclass(frozen=True)
class Foretold:
    """A plan made before a run.

    Attributes:
        plan: what would be computed.
        work: the same in numbers.
        rates: of the types of worker that it is priced by.
    """

    plan: Plan
    work: Work
    rates: Rates

    def on_this_machine(self, config: RefreshConfig, encoder: EncoderSource | None) -> Foretold:
        """The same, priced by the one type of worker that this machine is, which is measured for it."""
        from nnn_core.planning import measuring  # imports all that scores and embeds

        worker = measuring.this_machine(self.work, config.search, config.threads, encoder)
        return dataclasses.replace(self, rates=Rates(workers={measuring.NAME: worker}))

    @classmethod
    def of(cls, config: RefreshConfig, encoder: EncoderSource | None, rates: str | None) -> Foretold:
        """The plan of a refresh.

        Args:
            config: what it is to compute.
            encoder: the model, not loaded; None when all input holds vectors.
            rates: URI of a file of rates, ``auto`` to measure this machine, or None for the default.

        Raises:
            InputError: input that cannot be read.
            CorruptArtifactError: the current version's manifest is damaged.
        """
        if encoder is not None:
            encoder = settle(encoder, config.work, config.modalities, remember=False)
        measured = rates == AUTO
        known = Rates.read(None if measured else rates)
        found = _plan(config, encoder)
        foretold = cls(found, _work_of(found, config, encoder), known)
        return foretold.on_this_machine(config, encoder) if measured else foretold


def _plan(config: RefreshConfig, encoder: EncoderSource | None) -> Plan:
    previous = current_manifest(config.table)
    changed = _changed_parts(previous, encoder, config.prompts)
    asking, holding, judging = config.requests(encoder)
    sides = (previous.candidates, previous.references) if previous else (None, None)
    candidates = SidePlan.of("candidates", config.candidates, holding, sides[0], changed)
    references = SidePlan.of("references", config.references, asking, sides[1], changed)
    scorer = Scorer(config.kept_scores, config.exclude_own_pairs, config.work, config.threads, config.search)
    before = Needs.of_current(config.table, config.work)
    found = Plan.of(candidates, references, scorer, config.rows_per_reference_shard, previous, changed, before)
    if config.validation is None:
        return found
    # Versions do not say which queries judged them.
    unknown = Side(0, 0, "0", ()) if previous else None
    validation = SidePlan.of("validation", config.validation, judging, unknown, changed)
    return dataclasses.replace(found, validation=validation)


def _changed_parts(previous: Manifest | None, encoder: EncoderSource | None, prompts: Prompts) -> tuple[str, ...]:
    """Parts of the encoder's fingerprint that are not those of the current version."""
    if previous is None or encoder is None:
        return ()
    return differing(static_parts(encoder, prompts), previous.settings.encoder)


def _work_of(found: Plan, config: RefreshConfig, encoder: EncoderSource | None) -> Work:
    todo = {modality: sum(_rows_to_encode(found, modality)) for modality in MODALITIES}
    references = found.references.rows
    held = -(-references // max(1, found.groups))
    kept = config.kept_scores if config.bias_tolerance else kept_scores(config.kept_scores, held, max(1, references))
    return Work(
        images=todo["image"],
        texts=todo["text"],
        vectors=sum(side.rows_todo for side in found.sides if not side.model),
        pairs=found.pairs_todo,
        partials=found.partials_todo,
        merging=found.merging,
        candidates=found.candidates.rows,
        references=references,
        dim=found.dim or ASSUMED_DIM,
        kept=min(kept, held),
        k_max=config.kept_scores,
        grid=len(config.grid),
        groups=found.groups,
        group_rows=found.largest_group(found.dim or ASSUMED_DIM),
        shard_rows=found.largest_shard,
        file_rows=max(side.largest for side in found.sides),
        judged=found.validation is not None,
        threads=config.threads,
        prefilter=config.search != "exact",
        weights=weights_of(encoder) if encoder else None,
    )


def _rows_to_encode(found: Plan, modality: Modality) -> Iterator[int]:
    return (side.rows_todo for side in found.sides if side.model and side.modality == modality)


def format_hours(hours: Hours) -> tuple[str, str, str]:
    """Embedding, scoring and merging."""
    return seconds(3600 * hours.embed), seconds(3600 * hours.score), seconds(3600 * hours.merge)


def format_dollars(value: float) -> str:
    """Such as ``$12.50``: cents, and of less than a dollar two digits that say something, as in ``$0.0012``."""
    digits = max(2, 1 - math.floor(math.log10(value))) if value > 0 else 2
    return f"${value:,.{digits}f}"
