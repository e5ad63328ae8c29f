"""The flags that a refresh, an evaluation, an export and a plan share, and what they become."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace

from nnn_core.evaluation.choice import OBJECTIVES
from nnn_core.gates.thresholds import Thresholds, read_thresholds
from nnn_core.inputs.readers import Columns
from nnn_core.inputs.shards import MODALITIES
from nnn_core.scoring.search import METHODS
from pipelines.commands.config_file import Switch, add_config_arguments
from pipelines.commands.encoder_flags import add_encoder_arguments, prompts_from
from pipelines.config import RefreshConfig
from pipelines.running.logs import add_log_arguments

_COLUMNS = ("id", "pair_id", "caption", "vector", "image")


_PAYLOADS = frozenset({"caption", "vector", "image"})


def add_scoring_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags that ``refresh`` and ``demo`` share."""
    parser.add_argument(
        "--k",
        type=_k,
        default=128,
        help="neighbours in the mean, or auto for the largest of 1, 2, 4, ... the bank can give (default: %(default)s)",
    )
    parser.add_argument(
        "--alpha", type=float, default=0.75, help="weight of the mean in the bias (default: %(default)s)"
    )
    parser.add_argument(
        "--k-max",
        type=int,
        metavar="N",
        help="keep means for 1, 2, 4, ... up to N, so that k can be changed later without scoring (default: k)",
    )
    parser.add_argument(
        "--reference-shard-rows",
        "--reference-group-rows",
        type=int,
        metavar="N",
        help="files of the bank are scored together in groups of up to so many reference queries; a file of at least "
        "half of that stands alone (default: 65536, approximate 1048576)",
    )
    parser.add_argument(
        "--search",
        choices=METHODS,
        default="auto",
        help="exact: float32 selects, float64 decides; prefilter: int8 selects, same result; approximate: looks at a "
        "part of the bank, see --bias-tolerance; auto: the fastest exact one that a worker can run, on its GPU if it "
        "has one (default: %(default)s)",
    )
    parser.add_argument(
        "--bias-tolerance",
        type=float,
        metavar="ERROR",
        help="mean absolute error of a candidate's mean that --search approximate may make, such as 1e-3",
    )
    parser.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="threads of one worker process, for scores, for files of vectors and for the encoder on the CPU "
        "(default: all cores locally, 1 on a cluster)",
    )
    parser.add_argument(
        "--gates",
        metavar="FILE",
        help="YAML file of thresholds that a version must meet to be published (deploy/gates.yaml has the defaults)",
    )
    parser.add_argument(
        "--accept",
        action="append",
        default=[],
        metavar="GATE",
        help="publish although this gate fails; may be repeated, and is recorded in the manifest",
    )
    parser.add_argument(
        "--report", metavar="URI", help="name of the HTML report (default: a new one below WORK/reports)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    add_log_arguments(parser)


def add_refresh_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``refresh``."""
    add_config_arguments(parser)
    what = parser.add_argument_group("what to compute")
    what.add_argument(
        "--candidates",
        required=True,
        metavar="GLOB",
        help="shards of the items of the index; quote globs and ranges such as 's3://b/{00000..00012}.tar'",
    )
    what.add_argument("--references", required=True, metavar="GLOB", help="shards of the bank of reference queries")
    what.add_argument("--table", required=True, metavar="URI", help="folder of the bias table; a new version is added")
    what.add_argument("--work", required=True, metavar="URI", help="folder of artefacts, which later runs reuse")
    what.add_argument(
        "--encoder",
        metavar="SPEC",
        help="open_clip:MODEL/PRETRAINED (tag or checkpoint) or open_clip:local-dir:DIR; not needed for vectors",
    )
    add_encoder_arguments(what)
    what.add_argument(
        "--candidate-modality",
        choices=MODALITIES,
        default="image",
        help="what candidates are (default: %(default)s)",
    )
    what.add_argument(
        "--reference-modality",
        choices=MODALITIES,
        help="what references, and so queries, are (default: what candidates are not)",
    )
    what.add_argument(
        "--exclude-own-pairs",
        action=Switch,
        default=False,
        help="leave a candidate's own reference queries (same pair id) out of its mean",
    )
    what.add_argument(
        "--max-reject-rate",
        type=float,
        default=0.0,
        metavar="RATE",
        help="unusable rows of a side, as a share (default: 0)",
    )
    what.add_argument(
        "--cache-bytes",
        type=int,
        metavar="N",
        help="bytes of the bank that each worker's machine keeps on its disk when --work is an object store; 0 for "
        "none (default: a tenth of what is free, at most 8 GiB)",
    )
    what.add_argument("--cache-folder", metavar="DIR", help="where (default: a folder of yours in $TMPDIR)")
    what.add_argument(
        "--accelerator",
        metavar="TYPE",
        help="of the workers that embed and score, such as 'type:nvidia-l4;count:1;install-nvidia-driver'; the other "
        "stages get none (Dataflow)",
    )
    what.add_argument(
        "--model-copies",
        type=int,
        metavar="N",
        help="copies of the encoder that a machine's worker processes share (default: one in each process)",
    )
    columns = parser.add_argument_group(
        "columns", "Names of columns or JSON fields; --reference-... and --validation-... for these."
    )
    add_column_arguments(columns)
    add_override_arguments(columns, "reference", "validation")
    add_validation_arguments(
        parser.add_argument_group("validation", "Held-out queries that judge the bias before it is published.")
    )
    add_scoring_arguments(parser.add_argument_group("scoring and output"))  # type: ignore[arg-type]


def add_validation_arguments(parser: argparse._ActionsContainer) -> None:
    """The flags of an evaluation within a refresh."""
    parser.add_argument("--validation", metavar="GLOB", help="shards of held-out queries, none of them in the bank")
    add_relevance_arguments(parser)
    parser.add_argument(
        "--tune",
        action=Switch,
        default=False,
        help="choose k and alpha by one half of the queries",
    )


def add_relevance_arguments(parser: argparse._ActionsContainer) -> None:
    """The flags that say what answers a query, and what counts."""
    parser.add_argument(
        "--relevance",
        metavar="GLOB",
        help="what answers a query: query_id, candidate_id (or relevant, a list), grade (default: its pair id)",
    )
    parser.add_argument(
        "--allow-overlap",
        action=Switch,
        default=False,
        help="accept queries that are in the bank",
    )
    parser.add_argument(
        "--objective", choices=OBJECTIVES, default="recall@1", help="what --tune maximises (default: %(default)s)"
    )


def add_column_arguments(parser: argparse._ActionsContainer) -> None:
    """The flags that name columns."""
    for name in _COLUMNS:
        parser.add_argument(f"--{name.replace('_', '-')}-column", metavar="NAME", help=_COLUMN_HELP[name])


def columns_from(args: argparse.Namespace) -> Columns:
    """The columns that the flags of ``add_column_arguments`` name."""
    return Columns(**{name: getattr(args, f"{name}_column") for name in _COLUMNS})


_COLUMN_HELP = {
    "id": "identity of a row (default: the first present of id, key, image_path; in a tar the key); @sha256 for the "
    "digest of its content, @row for file name and position",
    "pair_id": "id of the row's own counterpart, none where empty (default: the row's id; in a tar the key)",
    "caption": "the caption (default: caption); in a TSV or CSV without a header #1 is the first column",
    "vector": "the embedding (default: the first present of vector, embedding)",
    "image": "the image's bytes in a Parquet file (default: the first present of image, jpg, jpeg, png, webp)",
}


def config_from(args: argparse.Namespace, local: bool) -> RefreshConfig:
    """The configuration that parsed flags describe.

    Args:
        args: from ``add_refresh_arguments``.
        local: whether the job runs in this process, not on a cluster.
    """
    candidate_columns = columns_from(args)
    return RefreshConfig(
        candidates=args.candidates,
        references=args.references,
        table=args.table,
        work=args.work,
        k=args.k,
        alpha=args.alpha,
        k_max=args.k_max,
        candidate_modality=args.candidate_modality,
        reference_modality=args.reference_modality,
        exclude_own_pairs=args.exclude_own_pairs,
        max_reject_rate=args.max_reject_rate,
        reference_shard_rows=args.reference_shard_rows,
        search=args.search,
        bias_tolerance=args.bias_tolerance,
        threads=args.threads or default_threads(local),
        validation=args.validation,
        relevance=args.relevance,
        tune=args.tune,
        objective=args.objective,
        allow_overlap=args.allow_overlap,
        cache_bytes=args.cache_bytes,
        cache_folder=args.cache_folder,
        accelerator=args.accelerator,
        model_copies=args.model_copies,
        thresholds=thresholds_from(args),
        accept=tuple(args.accept),
        report=args.report,
        prompts=prompts_from(args),
        candidate_columns=candidate_columns,
        reference_columns=reference_columns(args, candidate_columns),
        validation_columns=_validation_columns(args, candidate_columns),
    )


def thresholds_from(args: argparse.Namespace) -> Thresholds:
    """The thresholds of --gates, by default those of the program."""
    return read_thresholds(args.gates) if args.gates else Thresholds()


def reference_columns(args: argparse.Namespace, candidates: Columns) -> Columns:
    """The candidates' names, except where others were given for the bank.

    To say where the bank's captions are is to say that they, not vectors, are to be read, and the reverse.
    """
    own = {name: getattr(args, f"reference_{name}_column") for name in _COLUMNS}
    own = {name: value for name, value in own.items() if value is not None}
    payload = _PAYLOADS if own.keys() & _PAYLOADS else frozenset()
    names = {name: getattr(candidates, name) for name in _COLUMNS if name not in own.keys() | payload}
    inherited = tuple(name for name, value in names.items() if value is not None)
    return Columns(**names, **own, require_id=False, inherited=inherited)


def _validation_columns(args: argparse.Namespace, candidates: Columns) -> Columns:
    """Those of the bank, and what was named for the queries; every query needs an id."""
    return override_columns(args, "validation", replace(reference_columns(args, candidates), require_id=True))


def add_override_arguments(parser: argparse._ActionsContainer, *sides: str) -> None:
    """The flags that name other columns for a side, such as ``--reference-id-column``; help leaves them out."""
    for name in _COLUMNS:
        for side in sides:
            flag = f"--{side}-{name.replace('_', '-')}-column"
            parser.add_argument(flag, metavar="NAME", help=argparse.SUPPRESS)


def override_columns(args: argparse.Namespace, side: str, columns: Columns) -> Columns:
    """``columns`` with what the flags of ``add_override_arguments`` name for ``side``."""
    own = {name: getattr(args, f"{side}_{name}_column") for name in _COLUMNS}
    return replace(columns, **{name: value for name, value in own.items() if value is not None})


def default_threads(local: bool) -> int:
    """Threads of one worker process: all cores of the machine locally; a cluster has a process a core."""
    return len(os.sched_getaffinity(0)) if local else 1


def _k(text: str) -> int | str:
    if text == "auto":
        return text
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a whole number nor auto") from None
