"""What a refresh is asked to do: one frozen object, checked when it is built, and its flags."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from nnn_core import storage
from nnn_core.encoders.prompts import Prompts
from nnn_core.errors import ConfigError
from nnn_core.gates.judge import check_accepted
from nnn_core.gates.thresholds import Thresholds
from nnn_core.inputs.readers import Columns
from nnn_core.inputs.shards import Modality
from nnn_core.redaction import refuse_credentials
from nnn_core.scoring.search import METHODS
from nnn_core.scoring.topk import grid_of
from nnn_core.storage.disk_cache import DiskCache
from nnn_core.table.parts import check_alpha

DEFAULT_K_MAX = 128


@dataclass(frozen=True)
class RefreshConfig:
    """Settings of a refresh. Attributes are those of the flags of the same name; ``thresholds`` come from --gates,
    and ``run`` names this run.

    Raises:
        ConfigError: a value that cannot work.
    """

    candidates: str
    references: str
    table: str
    work: str
    k: int | Literal["auto"]
    alpha: float
    k_max: int | None = None
    candidate_modality: Modality = "image"
    reference_modality: Modality | None = None
    exclude_own_pairs: bool = False
    max_reject_rate: float = 0.0
    reference_shard_rows: int | None = None
    search: str = "auto"
    bias_tolerance: float | None = None
    threads: int = 1
    validation: str | None = None
    relevance: str | None = None
    tune: bool = False
    objective: str = "recall@1"
    allow_overlap: bool = False
    cache_bytes: int | None = None
    cache_folder: str | None = None
    accelerator: str | None = None
    model_copies: int | None = None
    thresholds: Thresholds = field(default_factory=Thresholds)
    accept: tuple[str, ...] = ()
    report: str | None = None
    run: str = "run"
    prompts: Prompts = field(default_factory=Prompts)
    candidate_columns: Columns = field(default_factory=Columns)
    reference_columns: Columns = field(default_factory=lambda: Columns(require_id=False))
    validation_columns: Columns = field(default_factory=Columns)

    def __post_init__(self) -> None:
        for flag in ("candidates", "references", "table", "work", "validation", "relevance", "report"):
            if (uri := getattr(self, flag)) is not None:
                refuse_credentials(uri, f"--{flag}")
        if self.k != "auto" and self.k < 1:
            raise ConfigError(f"--k {self.k} must be at least 1.")
        if self.k_max is not None and self.k_max < (1 if self.k == "auto" else self.k):
            raise ConfigError(f"--k-max {self.k_max} is smaller than --k {self.k}; keep at least k scores.")
        check_alpha(self.alpha)
        if self.validation is None and (self.tune or self.relevance):
            raise ConfigError(
                "--tune and --relevance say nothing without queries to judge by; name them with --validation."
            )
        if not 0.0 <= self.max_reject_rate <= 1.0:
            raise ConfigError(f"--max-reject-rate {self.max_reject_rate} must lie between 0 and 1.")
        if self.rows_per_reference_shard < 1 or self.threads < 1:
            raise ConfigError("--reference-shard-rows and --threads must be at least 1.")
        if self.model_copies is not None and self.model_copies < 1:
            raise ConfigError(f"--model-copies {self.model_copies} must be at least 1.")
        if self.cache_bytes is not None and self.cache_bytes < 0:
            raise ConfigError(f"--cache-bytes {self.cache_bytes} is negative; 0 turns the cache off.")
        if self.search not in METHODS:
            raise ConfigError(f"--search {self.search} is none of {', '.join(METHODS)}.")
        if (self.search == "approximate") != (self.bias_tolerance is not None):
            raise ConfigError(
                f"--search {self.search} with --bias-tolerance {self.bias_tolerance}: an approximate search needs a "
                "tolerance (try 1e-3), and the others are exact and take none."
            )
        if self.bias_tolerance is not None and not 0.0 < self.bias_tolerance < 1.0:
            raise ConfigError(f"--bias-tolerance {self.bias_tolerance} must lie between 0 and 1.")

        check_accepted(self.accept)

    @property
    def wanted_k(self) -> int | None:
        """k as a number, None for ``auto``."""
        return None if self.k == "auto" else self.k

    @property
    def kept_scores(self) -> int:
        """How many scores are kept for each candidate: ``k_max``, by default k (128 for ``auto``)."""
        return self.k_max or self.wanted_k or DEFAULT_K_MAX

    @property
    def grid(self) -> tuple[int, ...]:
        """The values of k whose means are kept."""
        return grid_of(self.kept_scores, self.wanted_k)

    @property
    def rows_per_reference_shard(self) -> int:
        """``reference_shard_rows``, by default larger for the approximate search, whose cost grows by its root."""
        if self.reference_shard_rows is not None:
            return self.reference_shard_rows
        return 1 << 20 if self.search == "approximate" else 1 << 16

    @property
    def bank_modality(self) -> Modality:
        """``reference_modality``, by default what candidates are not."""
        return self.reference_modality or ("text" if self.candidate_modality == "image" else "image")

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """Those of both sides, each once, in order."""
        return tuple(sorted({self.candidate_modality, self.bank_modality}))

    @property
    def cache(self) -> DiskCache:
        """Where each worker's machine keeps copies of what it reads from an object store again and again."""
        return DiskCache(self.cache_bytes, self.cache_folder)

    @property
    def hints(self) -> dict[str, str]:
        """Beam's resource hints for the stages that multiply matrices."""
        return {} if self.accelerator is None else {"accelerator": self.accelerator}

    @property
    def report_uri(self) -> str:
        """Where the last step leaves the content of the report."""
        return storage.join(self.work, "runs", f"{self.run}.json")

    @property
    def rejects_folder(self) -> str:
        """Where rejects are listed."""
        return storage.join(self.work, "rejects")
