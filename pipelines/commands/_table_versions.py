"""``nnn table list``, ``show``, ``reweight`` and ``rollback``: versions as a whole."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from nnn_core import storage
from nnn_core.encoders.fingerprints import shown_parts
from nnn_core.errors import CorruptArtifactError
from nnn_core.table.manifest import Manifest, current_manifest, list_versions, manifest_uri, read_manifest
from pipelines.commands._output import add_version, in_columns, print_json


def add_list_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``nnn table list``."""
    parser.add_argument("--trend", action="store_true", help="also show rows, hubs, gain and gates of each version")


def list_all(args: argparse.Namespace) -> None:
    """Print a line for each version."""
    read_manifest(args.table)  # raises when there is no table
    every = (_try_manifest(args.table, version) for version in list_versions(args.table))
    manifests = [manifest for manifest in every if manifest is not None]
    times = [_published(args.table, manifest) for manifest in manifests]
    if args.trend:
        print(*in_columns([_TREND, *map(_trend, manifests, times)]), sep="\n")
    else:
        _print_lines(manifests, times)
    print_json(args, {"versions": [_record(args.table, *each) for each in zip(manifests, times, strict=True)]})


def _print_lines(manifests: Sequence[Manifest], times: Sequence[str]) -> None:
    print(_HEAD)
    for at, (manifest, published) in enumerate(zip(manifests, times, strict=True)):
        earlier = next((each.version for each in manifests[: max(0, at - 1)] if manifest.says_the_same(each)), None)
        notes = [f"same as version {earlier}"] if earlier else []
        notes += ["current"] if at == len(manifests) - 1 else []
        print(f"{_line(manifest, published)}  {', '.join(notes)}".rstrip())


def show(args: argparse.Namespace) -> None:
    """Print what one version is."""
    _print_one(args, read_manifest(args.table, args.version))


def add_reweight_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``nnn table reweight``."""
    parser.add_argument("--k", type=int, help="one of the table's grid (default: unchanged)")
    parser.add_argument("--alpha", type=float, help="weight of the mean in the bias (default: unchanged)")
    add_version(parser, "version to start from (default: the current one)")


def reweight_version(args: argparse.Namespace) -> None:
    """Publish a version, and print what it is."""
    from nnn_core.table.reading import reweight

    _print_new(args, lambda: reweight(args.table, args.k, args.alpha, args.version))


def add_rollback_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``nnn table rollback``."""
    parser.add_argument("version", type=int, metavar="N", help="the version to go back to")


def roll_back(args: argparse.Namespace) -> None:
    """Publish a version, and print what it is."""
    from nnn_core.table.lifecycle.rollback import rollback

    _print_new(args, lambda: rollback(args.table, args.version))


def _print_new(args: argparse.Namespace, publish: Callable[[], Manifest]) -> None:
    """Publish a version, and print what it is; the current one may be the very same."""
    before = current_manifest(args.table)
    manifest = publish()
    if before is not None and manifest.version == before.version:
        print(f"nothing was published: version {before.version} is current and says the same")
    _print_one(args, manifest)


def _print_one(args: argparse.Namespace, manifest: Manifest) -> None:
    published = _published(args.table, manifest)
    print(_describe(manifest, published))
    print_json(args, _record(args.table, manifest, published))


def _try_manifest(table: str, version: int) -> Manifest | None:
    """An old manifest that is damaged is told of, and is in nobody's way."""
    try:
        return read_manifest(table, version)
    except CorruptArtifactError as error:
        logging.getLogger("nnn").warning("version %d is left out: %s", version, error)
        return None


def _record(table: str, manifest: Manifest, published: str) -> dict[str, Any]:
    """A version for programs; the vectors of its encoder's probes are in the manifest alone."""
    content = asdict(manifest)
    content["settings"]["encoder"] = shown_parts(manifest.settings.encoder)
    where = {"manifest": manifest_uri(table, manifest.version), "published": published}
    return {**where, "rows": manifest.rows, **content}


_HEAD = f"version  {'published, UTC':<16}  {'candidates':>20}  {'bank':>18}     k  alpha  mean bias"


def _line(manifest: Manifest, published: str) -> str:
    """A version in the columns of ``_HEAD``."""
    s = manifest.settings
    candidates = f"{manifest.rows:,} {s.candidate_modality}s"
    bank = f"{manifest.references.rows:,} {s.reference_modality}s"
    return (
        f"{manifest.version:>7}  {_minute(published)}  {candidates:>20}  {bank:>18}  {s.k:>4}  {s.alpha:>5g}  "
        f"{manifest.bias_mean:>9.4f}"
    )


_TREND = ("version", "published, UTC", "candidates", "rejected", "bank", "mean bias", "hubs", "gain", "gates")


def _trend(manifest: Manifest, published: str) -> tuple[str, ...]:
    """A version in the columns of ``_TREND``; empty where it does not say."""
    gain, judged = "", manifest.evaluation or {}
    if objective := judged.get("objective"):
        value = judged["gain"].get(objective, {}).get("value", 0.0)
        gain = f"{objective} {100 * value:+.1f}" if objective.startswith("recall") else f"{objective} {value:+.3f}"
    accepted = ", ".join(gate.name for gate in manifest.gates if gate.accepted)
    passed = sum(gate.verdict == "pass" for gate in manifest.gates)
    return (
        str(manifest.version),
        _minute(published),
        f"{manifest.rows:,}",
        f"{manifest.candidates.rejected:,}",
        f"{manifest.references.rows:,}",
        f"{manifest.bias_mean:.4f}",
        f"{manifest.hubs.rows:,}" if manifest.hubs else "",
        gain,
        f"{passed} passed" + (f", accepted: {accepted}" if accepted else ""),
    )


def _published(table: str, manifest: Manifest) -> str:
    """When the store wrote the manifest, which itself holds no time."""
    return datetime.fromtimestamp(storage.modified(manifest_uri(table, manifest.version)), UTC).isoformat()


def _minute(published: str) -> str:
    return published[:16].replace("T", " ")


def _describe(manifest: Manifest, published: str) -> str:
    """What a version is, in a sentence."""
    s = manifest.settings
    return (
        f"version {manifest.version}: {manifest.rows:,} {s.candidate_modality} candidates, bank of "
        f"{manifest.references.rows:,} {s.reference_modality} queries, k = {s.k} of {', '.join(map(str, s.grid))}, "
        f"alpha = {s.alpha:g}, mean bias {manifest.bias_mean:.4f}, published {_minute(published)} UTC"
    )


#: The flags that a command adds, and what it does.
COMMANDS = {
    "list": (add_list_arguments, list_all),
    "show": (add_version, show),
    "reweight": (add_reweight_arguments, reweight_version),
    "rollback": (add_rollback_arguments, roll_back),
}
