"""``nnn encoder``: what an encoder is, and whether a service runs the one that a table was made with."""

from __future__ import annotations

import argparse
import json
from collections.abc import Collection, Mapping, Sequence

from nnn_core import storage
from nnn_core.encoders import PRECOMPUTED, parse_encoder
from nnn_core.encoders.fingerprints import PROBES, check_encoder, shown_parts
from nnn_core.encoders.probes import distances, from_text, probe_images, probe_texts, recorded, tolerance_of
from nnn_core.encoders.prompts import Prompts
from nnn_core.errors import ConfigError, InputError
from nnn_core.inputs.listing import describe_shard
from nnn_core.inputs.readers import Columns, holds_vectors, read_rows
from nnn_core.inputs.shards import MODALITIES, Modality
from nnn_core.table.manifest import read_manifest
from nnn_core.vectors import FloatMatrix
from pipelines.commands._options import add_options
from pipelines.commands._output import add_command, add_version, print_json
from pipelines.commands._parser import Parser
from pipelines.config import RefreshConfig


def main(argv: Sequence[str] | None = None) -> None:
    """Parse flags, act, print."""
    parser = Parser(
        prog="nnn encoder", description="Fingerprint an encoder, and compare encoders and services with a table."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    show = add_command(commands, "fingerprint", "show what an encoder's vectors depend on")
    show.add_argument("spec", metavar="SPEC", help="as for --encoder of nnn refresh")
    check = add_command(
        commands,
        "check",
        "compare an encoder, or a live service, with a table (exit code 3: they differ)",
    )
    check.add_argument("spec", metavar="SPEC", nargs="?", help="the encoder; not needed with --vectors")
    check.add_argument("--table", required=True, metavar="URI", help="folder of the bias table")
    add_version(check)
    check.add_argument(
        "--vectors", metavar="FILE", help="a service's vectors of the probes, with id and vector, in any format"
    )
    check.add_argument("--tolerance", type=float, metavar="D", help="distance allowed between unit vectors of a probe")
    for command in (show, check):  # how texts and images become vectors, as for nnn refresh
        add_options(command, RefreshConfig, "precision", "reference_prompt", "candidate_prompt")
    probes = add_command(commands, "probes", "write the probes, for a service to encode")
    probes.add_argument("--output", required=True, metavar="URI", help="folder for texts.jsonl and the pictures")
    args = parser.parse_args(argv)
    result = {"fingerprint": _fingerprint, "check": _check, "probes": _write_probes}[args.command](args)
    print_json(args, result)


def _parts(args: argparse.Namespace, modalities: Collection[Modality] = MODALITIES) -> dict[str, str]:
    """What vectors of the encoder that SPEC names depend on."""
    prompts = Prompts(args.reference_prompt, args.candidate_prompt)
    return recorded(parse_encoder(args.spec, args.precision), prompts, None, modalities)


def _fingerprint(args: argparse.Namespace) -> dict[str, str]:
    parts = _parts(args)
    for name, value in shown_parts(parts).items():
        print(f"{name:<14} {value}")
    return parts


def _check(args: argparse.Namespace) -> dict[str, object]:
    """Compare parts, then vectors.

    Raises:
        InputError: they differ, or there is nothing to compare.
    """
    if not args.spec and not args.vectors:
        raise ConfigError("nnn encoder check needs an encoder or vectors to compare. Give SPEC or --vectors FILE.")
    manifest = read_manifest(args.table, args.version)
    name, theirs = f"version {manifest.version} of {args.table}", manifest.settings.encoder
    if args.spec:
        modalities = {manifest.settings.candidate_modality, manifest.settings.reference_modality}
        ours = _parts(args, modalities)
        check_encoder(theirs, ours, name, "what SPEC names")
        # A table that records no probes was made with this very encoder, as all other parts are equal.
        theirs = {PROBES: ours[PROBES], **theirs}
        print(f"this encoder is the one of {name}: {', '.join(sorted(ours))} agree")
    found = _compare_service(name, theirs, args) if args.vectors else {}
    return {"table": args.table, "version": manifest.version, "verdict": "same", "distances": found}


def _compare_service(name: str, theirs: Mapping[str, str], args: argparse.Namespace) -> dict[str, float]:
    if PROBES not in theirs:
        known = "was made from ready-made vectors" if theirs.get("kind") == PRECOMPUTED else "records no probes"
        raise InputError(f"{name} {known}, so there is nothing to compare {args.vectors!r} with; name its encoder too.")
    expected, service = from_text(theirs[PROBES]), _read_vectors(args.vectors)
    if not expected.keys() & service.keys():
        raise InputError(
            f"{args.vectors!r} has no vector of a probe. Its ids must be among {', '.join(sorted(expected))} "
            "(nnn encoder probes writes the inputs)."
        )
    most = tolerance_of([theirs.get("precision", "")]) if args.tolerance is None else args.tolerance
    found = distances(expected, service)
    for probe in sorted(expected):
        print(f"{probe:<18} {f'distance {found[probe]:.2e}' if probe in found else 'not in the file'}")
    if bad := {probe: distance for probe, distance in found.items() if not distance <= most}:
        raise InputError(
            f"the vectors in {args.vectors!r} differ from those of {name}: {', '.join(sorted(bad))} lie up to "
            f"{max(bad.values()):.2e} away (limit: {most:g}). {_where_to_look(bad)}"
        )
    print(f"the vectors in {args.vectors!r} agree with those of {name} (limit: {most:g})")
    return found


def _where_to_look(bad: Mapping[str, float]) -> str:
    kinds = {"image" if probe.startswith("image") else "text" for probe in bad}
    if kinds == {"image"}:
        return "Texts agree, or were not given. Check how the service prepares images (size, crop, filter, mean)."
    if kinds == {"text"}:
        return "Images agree, or were not given. Check the service's prompt, tokenizer and truncation."
    return "Check the service's weights first."


def _read_vectors(uri: str) -> dict[str, FloatMatrix]:
    """Vectors by id of a file in any format that a refresh reads.

    Raises:
        InputError: it holds none, or cannot be read.
    """
    shard = describe_shard(uri)
    if not holds_vectors(shard, "text", Columns()):
        raise InputError(f"{uri!r} holds no vectors. Give a file with the columns id and vector.")
    vectors: dict[str, FloatMatrix] = {}
    for rows in read_rows(shard, "text", Columns()):
        if rows.rejects:
            raise InputError(f"{uri!r}: row {rows.rejects[0].id!r} cannot be used: {rows.rejects[0].reason}.")
        vectors |= dict(zip(rows.ids, rows.items, strict=True))
    return vectors


def _write_probes(args: argparse.Namespace) -> dict[str, str]:
    """Texts are written without a prompt: the service is to add its own, as it does for a live query."""
    lines = [json.dumps({"id": name, "caption": text}) + "\n" for name, text in probe_texts(Prompts()).items()]
    files = {"texts.jsonl": "".join(lines).encode(), **{f"{name}.png": data for name, data in probe_images().items()}}
    written = {name: storage.join(args.output, name) for name in files}
    for name, data in files.items():
        storage.create_output(written[name], data, "--output")
        print(written[name])
    return written
