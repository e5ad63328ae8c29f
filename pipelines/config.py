"""What a refresh and an evaluation are asked to do: one frozen object each, checked when it is built."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property, partial
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator
from pydantic.dataclasses import dataclass

from nnn_core import storage
from nnn_core.embedded.embedding import EmbeddingRequest
from nnn_core.encoders import FLOAT32, PRECISIONS, EncoderSource, parse_encoder
from nnn_core.encoders.generations import digest_of
from nnn_core.encoders.prompts import AS_IS, Prompts
from nnn_core.errors import ConfigError
from nnn_core.evaluation.choice import OBJECTIVES
from nnn_core.evaluation.summary import Request
from nnn_core.gates.judge import check_accepted
from nnn_core.gates.thresholds import Thresholds
from nnn_core.inputs.rejects import RATE_FLAGS
from nnn_core.inputs.shards import Modality
from nnn_core.scoring.search import SEARCHES
from nnn_core.scoring.topk import grid_of
from nnn_core.storage.disk_cache import DiskCache
from nnn_core.table.parts import BiasSettings
from pipelines.options import (
    CHECKED,
    COLUMNS,
    OUTPUT,
    Option,
    QueryColumnOptions,
    ReferenceColumnOptions,
    ValidationColumnOptions,
)

#: Scores that are kept for each candidate at least, unless ``k_max`` says otherwise.
_K_MAX = 128
_K_LARGEST = 1 << 16

#: Unusable rows that queries may have: a few among thousands move no mean, while a candidate that is missing is missed.
_LOOSE_RATE = 0.01

#: Headings of --help, with a description.
GROUPS = {
    "what to compute": None,
    COLUMNS: "Names of columns or fields; --reference-..., --validation-... for these.",
    "validation": "Held-out queries that judge the bias before it is published.",
    OUTPUT: None,
}
#: Heading of --help of what an evaluation measures if it is asked to.
MEASURED = "more to measure"
_what, _validation, _scoring = (partial(Option, group=title) for title in GROUPS if title != COLUMNS)
_measured = partial(Option, group=MEASURED)


def _parse_k(value: Any) -> Any:
    if not isinstance(value, str) or value == "auto":
        return value
    try:
        return int(value)
    except ValueError:
        raise ValueError(f"{value!r} is not a whole number or auto") from None


@dataclass(frozen=True, config=CHECKED)
class RefreshConfig(ValidationColumnOptions):
    """Settings of a refresh, each declared here once: flags, files and templates are made from them.

    Attributes:
        candidates: shards of the items of the index; quote globs and ranges such as 's3://b/{00000..00012}.tar'.
        references: shards of the bank of reference queries.
        table: folder of the bias table; the job adds a version.
        work: folder of artefacts, which later runs reuse.
        encoder: open_clip:MODEL/PRETRAINED (tag or checkpoint) or open_clip:local-dir:DIR; not needed for files of
            vectors.
        precision: number format of the encoder; stored vectors are always float32 (default: %(default)s).
        reference_prompt: template for the bank's texts, such as 'a photo of {}'; use that of live queries (default:
            none).
        candidate_prompt: template for text candidates, such as 'a photo of {}' (default: none).
        candidate_modality: what candidates are (default: %(default)s).
        reference_modality: what references and queries are (default: the other).
        exclude_own_pairs: do not compare a candidate with references that have its pair id.
        max_reject_rate: share of unusable candidates that is accepted (default: 0). Also --reference-max-reject-rate
            and --validation-max-reject-rate (default: 0.01).
        cache_bytes: size of each machine's disk cache of the bank if --work is an object store; 0 for none (default: a
            tenth of the free space, at most 8 GiB).
        cache_folder: cache directory (default: under $TMPDIR).
        accelerator: GPUs of the workers that embed and score, such as 'type:nvidia-l4;count:1;install-nvidia-driver';
            only on Dataflow.
        model_copies: number of models that the processes of a machine share (default: one each).
        validation: shards of held-out queries, with a column of right answers or with --relevance; without answers,
            recall is not measured.
        relevance: tables of right answers, with the columns query_id, candidate_id (or relevant, a list) and grade
            (default: each query's pair id).
        allow_overlap: accept queries that are in the bank.
        drop_overlap: remove validation queries from the bank.
        objective: the measure that reports show first (default: %(default)s).
        tune: choose k and alpha, and publish alpha 0 if no gain is proven.
        k: number of references in the mean; auto is 16, less for banks under 128, and more above 40,000 (default:
            %(default)s).
        alpha: weight of the mean in the bias (default: %(default)s).
        k_max: keep means for k = 1, 2, 4, ... up to N, so that k can change without scoring (default: 128, or k if
            larger).
        reference_shard_rows: maximum size of a reference shard; a file of at least half that size is a shard by itself
            (default: about 1/64 of the bank; 1048576 for --search approximate).
        search: exact uses float32. prefilter uses int8, with the same result. approximate searches a part of the bank
            and needs --bias-tolerance. auto is the fastest exact one, on a GPU if there is one (default: %(default)s).
        bias_tolerance: limit of the mean absolute error of --search approximate, such as 1e-3.
        threads: threads of a worker process (default: all cores; 1 on a cluster).
        gates: YAML file of limits for publishing, such as drift_psi: 0.25 (default: limits of the program).
        accept: publish even if this gate fails; repeatable. The manifest records it.
        report: HTML report; {date} stands for today (default: a new one below WORK/reports). WORK/reports/latest.html
            is a copy of the newest refresh's.
        show: columns of the candidates that the report shows beside their ids, such as title,url (default: caption).
        worker_start_timeout: seconds to wait for an engine's first worker (default: %(default)g).
        run: name of this run, which is no option.

    Raises:
        ConfigError: a value that cannot work.
        InputError: the file of thresholds cannot be read.
    """

    candidates: Annotated[str, _what("GLOB")]
    references: Annotated[str, _what("GLOB")]
    table: Annotated[str, _what("URI")]
    work: Annotated[str, _what("URI")]
    encoder: Annotated[str | None, _what("SPEC")] = None
    precision: Annotated[str, _what(choices=PRECISIONS)] = FLOAT32
    reference_prompt: Annotated[str, _what("TEMPLATE")] = AS_IS
    candidate_prompt: Annotated[str, _what("TEMPLATE")] = AS_IS
    candidate_modality: Annotated[Modality, _what()] = "image"
    reference_modality: Annotated[Modality | None, _what()] = None
    exclude_own_pairs: Annotated[bool, _what(switch=True)] = False
    max_reject_rate: Annotated[float, _what("RATE")] = 0.0
    reference_max_reject_rate: Annotated[float | None, _what("RATE")] = None
    validation_max_reject_rate: Annotated[float | None, _what("RATE")] = None
    cache_bytes: Annotated[int | None, _what("N")] = None
    cache_folder: Annotated[str | None, _what("DIR")] = None
    accelerator: Annotated[str | None, _what("TYPE")] = None
    model_copies: Annotated[int | None, _what("N")] = None
    validation: Annotated[str | None, _validation("GLOB")] = None
    relevance: Annotated[str | None, _validation("GLOB")] = None
    allow_overlap: Annotated[bool, _validation(switch=True)] = False
    drop_overlap: Annotated[bool, _validation(switch=True)] = False
    objective: Annotated[str, _validation(choices=OBJECTIVES)] = "recall@1"
    tune: Annotated[bool, _validation(switch=True)] = False
    k: Annotated[int | Literal["auto"], BeforeValidator(_parse_k), _scoring()] = "auto"
    alpha: Annotated[float, _scoring()] = 0.5
    k_max: Annotated[int | None, _scoring("N")] = None
    reference_shard_rows: Annotated[int | None, _scoring("N")] = None
    search: Annotated[str, _scoring(choices=SEARCHES)] = "auto"
    bias_tolerance: Annotated[float | None, _scoring("ERROR")] = None
    threads: Annotated[int, _scoring("N", filled=True)] = 1
    gates: Annotated[str | None, _scoring("FILE")] = None
    accept: Annotated[tuple[str, ...], _scoring("GATE")] = ()
    report: Annotated[str | None, _scoring("URI")] = None
    show: Annotated[str | None, _scoring("NAMES")] = None
    worker_start_timeout: Annotated[float, _scoring("SECONDS")] = 300.0
    run: str = "run"

    def __post_init__(self) -> None:
        # What other files and names mean is found out now, and not by a worker.
        _ = self.thresholds, self.prompts, self.validation_columns
        self.refuse_credentials("candidates", "references", "table", "work", "validation", "relevance", "report")
        if self.k != "auto" and self.k < 1:
            raise ConfigError(f"--k {self.k} must be at least 1.")
        if self.k_max is not None and self.k_max < (1 if self.k == "auto" else self.k):
            raise ConfigError(f"--k-max {self.k_max} is smaller than --k {self.k}. Keep at least k scores.")
        if self.kept_scores > _K_LARGEST:
            raise ConfigError(
                f"--k-max {self.kept_scores} is too large: a candidate keeps at most {_K_LARGEST:,} scores."
            )
        BiasSettings.check_alpha(self.alpha)
        if self.validation is None and (self.tune or self.relevance or self.drop_overlap):
            raise ConfigError(
                "--tune, --relevance and --drop-overlap need validation queries. Name them with --validation."
            )
        if self.allow_overlap and self.drop_overlap:
            raise ConfigError(
                "--allow-overlap keeps queries in the bank, and --drop-overlap removes them. Give only one of them."
            )
        for side, rate in self.reject_rates.items():
            if not 0.0 <= rate <= 1.0:
                raise ConfigError(f"{RATE_FLAGS[f'--{side}']} {rate} must lie between 0 and 1.")
        if (self.reference_shard_rows is not None and self.reference_shard_rows < 1) or self.threads < 1:
            raise ConfigError("--reference-shard-rows and --threads must be at least 1.")
        if not self.worker_start_timeout > 0:
            raise ConfigError(f"--worker-start-timeout {self.worker_start_timeout} must be more than 0 seconds.")
        if self.model_copies is not None and self.model_copies < 1:
            raise ConfigError(f"--model-copies {self.model_copies} must be at least 1.")
        if self.cache_bytes is not None and self.cache_bytes < 0:
            raise ConfigError(f"--cache-bytes {self.cache_bytes} is negative. 0 turns the cache off.")
        if self.search not in SEARCHES:
            raise ConfigError(f"--search {self.search} is none of {', '.join(SEARCHES)}.")
        if (self.search == "approximate") != (self.bias_tolerance is not None):
            raise ConfigError(
                f"--search {self.search} with --bias-tolerance {self.bias_tolerance}: only the approximate "
                "search has a tolerance, and it needs one (try 1e-3)."
            )
        if self.bias_tolerance is not None and not 0.0 < self.bias_tolerance < 1.0:
            raise ConfigError(f"--bias-tolerance {self.bias_tolerance} must lie between 0 and 1.")
        check_accepted(self.accept)

    @property
    def reject_rates(self) -> dict[str, float]:
        """Share of the rows of each side that may be unusable."""
        loose = max(_LOOSE_RATE, self.max_reject_rate)
        own = {"references": self.reference_max_reject_rate, "validation": self.validation_max_reject_rate}
        rates = {side: loose if rate is None else rate for side, rate in own.items()}
        return {"candidates": self.max_reject_rate, **rates}

    @cached_property
    def thresholds(self) -> Thresholds:
        """What the gates hold a version to: those of the file ``gates``, by default the program's."""
        return Thresholds.read(self.gates)

    @cached_property
    def prompts(self) -> Prompts:
        """The words around texts of both sides."""
        return Prompts(self.reference_prompt, self.candidate_prompt)

    @property
    def encoder_source(self) -> EncoderSource | None:
        """The model that ``encoder`` names, not loaded; None if it names none."""
        return parse_encoder(self.encoder, self.precision) if self.encoder else None

    def requests(self, encoder: EncoderSource | None) -> tuple[EmbeddingRequest, EmbeddingRequest, EmbeddingRequest]:
        """How rows of the bank, of the candidates and of the validation queries are read and encoded.

        Args:
            encoder: the model, not loaded; None when all input holds vectors.
        """
        bank, index = (digest_of(encoder, each) for each in (self.bank_modality, self.candidate_modality))
        prompts, columns = self.prompts, self.candidate_columns
        asking = EmbeddingRequest(self.bank_modality, self.reference_columns, bank, self.work, prompts.reference)
        holding = EmbeddingRequest(self.candidate_modality, columns, index, self.work, prompts.candidate)
        return asking, holding, replace(asking, columns=self.validation_columns)

    @property
    def wanted_k(self) -> int | None:
        """k as a number, None for ``auto``."""
        return None if self.k == "auto" else self.k

    @property
    def kept_scores(self) -> int:
        """How many scores are kept for each candidate: ``k_max``, by default 128, or k if that is larger."""
        return self.k_max or max(_K_MAX, self.wanted_k or 0)

    @property
    def grid(self) -> tuple[int, ...]:
        """The values of k whose means are kept."""
        return grid_of(self.kept_scores, self.wanted_k)

    @property
    def rows_per_reference_shard(self) -> int | None:
        """``reference_shard_rows``; many by default for the approximate search, whose cost grows by their root."""
        if self.reference_shard_rows is None and self.search == "approximate":
            return 1 << 20
        return self.reference_shard_rows

    @property
    def bank_modality(self) -> Modality:
        """``reference_modality``, by default what candidates are not."""
        return self.reference_modality or ("text" if self.candidate_modality == "image" else "image")

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """Those of both sides, each once, in order."""
        return tuple(sorted({self.candidate_modality, self.bank_modality}))

    @property
    def shown_columns(self) -> tuple[str, ...]:
        """The columns that ``show`` names."""
        return self.listed(self.show)

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
    def beacon(self) -> str:
        """What the first worker creates, where the launcher waits for it."""
        return storage.join(self.work, "runs", f"{self.run}.begun")

    @property
    def rejects_folder(self) -> str:
        """Where rejects are listed."""
        return storage.join(self.work, "rejects")


@dataclass(frozen=True, config=CHECKED)
class EvaluationConfig(QueryColumnOptions, ReferenceColumnOptions):
    """What to evaluate, each option declared here once.

    Attributes:
        table: folder of the bias table.
        version: which version (default: the current one).
        candidates: shards of the items of the index.
        queries: shards of the held-out queries.
        work: folder of artefacts, that of the refresh.
        references: the bank: makes sure that no query is in it, and counts its rows that belong to candidates.
        relevance: what answers a query: query_id, candidate_id (or relevant, a list), grade (default: its pair id).
        allow_overlap: accept queries that are in the bank.
        max_reject_rate: unusable rows of the queries, and of a bank that is not the table's, as a share (default:
            %(default)s).
        subset: accept a part of the table's candidates; all figures are then over that part.
        encoder: model, as for nnn refresh; not needed for vectors.
        threads: threads of one worker process (default: all cores).
        drop_own_pairs: also judge the bias without the bank's rows that belong to candidates, which is the fair figure
            if the bank describes the index (scores anew).
        compare: also judge CSLS, Distribution Normalization, Inverted Softmax, QB-Norm and DB-Norm; on a sample if
            there are more than 100,000 candidates.
        attributes: tables of id and attributes, to see how evenly their values are retrieved.
        show: columns of the candidates that the report shows beside their ids, such as title,url (default: caption).
        request: which point is judged, and by what, which the command works out from its own options.
        run: name of this run, which is no option.

    Raises:
        ConfigError: a value that cannot work.
    """

    table: Annotated[str, Option("URI")]
    version: Annotated[int, Option("N", filled=True)]
    candidates: Annotated[str, Option("GLOB")]
    queries: Annotated[str, Option("GLOB")]
    work: Annotated[str, Option("URI")]
    request: Request
    references: Annotated[str | None, Option("GLOB")] = None
    relevance: Annotated[str | None, Option("GLOB")] = None
    allow_overlap: Annotated[bool, Option(switch=True)] = False
    max_reject_rate: Annotated[float, Option("RATE")] = _LOOSE_RATE
    subset: Annotated[bool, Option(switch=True)] = False
    encoder: Annotated[str | None, Option("SPEC")] = None
    threads: Annotated[int, Option("N", filled=True)] = 1
    drop_own_pairs: Annotated[bool, _measured()] = False
    compare: Annotated[bool, _measured()] = False
    attributes: Annotated[str | None, _measured("GLOB")] = None
    show: Annotated[str | None, Option("NAMES")] = None
    run: str = "run"

    def __post_init__(self) -> None:
        # What a name means is found out now, and not by a worker.
        _ = self.query_columns, self.reference_columns
        self.refuse_credentials("table", "candidates", "queries", "work", "relevance", "references", "attributes")
        if self.references is None and (self.compare or self.drop_own_pairs):
            raise ConfigError("--compare and --drop-own-pairs need the bank of the table. Name it with --references.")
        if not 0.0 <= self.max_reject_rate <= 1.0:
            raise ConfigError(f"--max-reject-rate {self.max_reject_rate} must lie between 0 and 1.")

    @property
    def shown_columns(self) -> tuple[str, ...]:
        """The columns that ``show`` names."""
        return self.listed(self.show)

    @property
    def rejects_folder(self) -> str:
        """Where rejects are listed."""
        return storage.join(self.work, "rejects")

    @property
    def result_uri(self) -> str:
        """Where the last step leaves what it found."""
        return storage.join(self.work, "runs", f"{self.run}.json")
