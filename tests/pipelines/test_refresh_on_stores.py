"""The job on object stores: the same table wherever its parts lie, and no credential in anything it leaves."""

from __future__ import annotations

import base64
import bz2
import dataclasses
import json
import re
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path

import apache_beam as beam
import fsspec
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from failpoints import several_parts
from jobs import TwoVersions
from stores import Fault, Proxy, use_s3

from nnn_core import load_bias_table, storage
from nnn_core.errors import ConfigError
from pipelines.commands._parsing import parse_beam_options
from pipelines.commands._refresh import refresh
from pipelines.commands._refresh_flags import build_parser
from pipelines.commands.cli import main
from pipelines.config import RefreshConfig
from pipelines.refresh import define_refresh

K = 4


def options(*flags: str) -> PipelineOptions:
    return parse_beam_options(list(flags), build_parser())


@pytest.fixture
def local(two_versions: TwoVersions) -> Path:
    """The tiny job's inputs of version 1, and what that made of them with everything on a local disk."""
    return two_versions.kept[1]


def config_at(candidates: str, references: str, table: str, work: str) -> RefreshConfig:
    """The job with each of its four places below another folder."""
    return RefreshConfig(
        storage.join(candidates, "candidates", "part-{0..1}.parquet"),
        storage.join(references, "references", "part-{0..1}.parquet"),
        storage.join(table, "table"),
        storage.join(work, "work"),
        k=K,
        k_max=K,
        reference_shard_rows=1,
    )


def upload(local: Path, *places: str) -> None:
    """Put the inputs into each place, unless they are there."""
    for place in {place for place in places if "://" in place}:
        for side in ("candidates", "references"):
            for path in (local / side).iterdir():
                storage.create(storage.join(place, side, path.name), path.read_bytes())


def table_digests(place: str) -> dict[str, str]:
    return {part.path: part.sha256 for part in load_bias_table(storage.join(place, "table")).manifest.files}


KEY, SECRET, TOKEN = "AKIACANARYCANARYCAN1", "canary/Secret+Canary/SecretCanarySecret12", "canaryTokenCanaryTokenCanary"
CANARIES = [KEY, SECRET, TOKEN]


@pytest.fixture
def canaries(s3: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Credentials in the places where a client of S3 looks for them, and finds them."""
    use_s3(monkeypatch, s3_endpoint, KEY, SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    clients = fsspec.get_filesystem_class("s3")
    clients.clear_instance_cache()  # they would keep the credentials that they know
    signed = fsspec.filesystem("s3").sign(f"{s3}/x")
    assert KEY in signed
    assert TOKEN in signed
    yield
    clients.clear_instance_cache()


def assert_no_canary(*texts: bytes) -> None:
    for text in texts:
        for canary in CANARIES:
            forms = (canary.encode(), json.dumps(canary).encode(), base64.b64encode(canary.encode())[:-4])
            assert not any(form in text for form in forms)


def refresh_flags(folder: Path, *places: str) -> list[str]:
    """The job with its cache below ``folder``, and all that it has to say."""
    config = config_at(*places)
    flags = ["--candidates", config.candidates, "--references", config.references, "--table", config.table]
    flags += ["--work", config.work, "--k", str(K), "--k-max", str(K), "--reference-shard-rows", "1"]
    return ["refresh", *flags, "--cache-folder", str(folder / "cache"), "--verbose", "--json"]


#: Where candidates, bank, table and work lie.
PLACES = [
    ("s3", "s3", "s3", "s3"),
    pytest.param(("gs", "disk", "s3", "gs"), marks=pytest.mark.slow),
    pytest.param(("s3", "gs", "disk", "s3"), marks=pytest.mark.slow),
    pytest.param(("gs", "gs", "gs", "gs"), marks=pytest.mark.slow),
    pytest.param(("disk", "s3", "gs", "disk"), marks=pytest.mark.slow),
]


@pytest.mark.parametrize("places", PLACES)
def test_the_table_does_not_depend_on_where_anything_lies(
    local: Path,
    tmp_path: Path,
    s3: str,
    gs: str,
    places: tuple[str, str, str, str],
    canaries: None,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """And no credential is left in what was written, printed or logged."""
    folders = {"s3": s3, "gs": gs, "disk": str(tmp_path)}
    candidates, references, table, work = (folders[place] for place in places)
    upload(local, candidates, references)
    if "disk" in places[:2]:
        for side in ("candidates", "references"):
            (tmp_path / side).symlink_to(local / side)
    flags = refresh_flags(tmp_path, candidates, references, table, work)
    capfd.readouterr()
    output, summaries = "", []
    for _ in range(2):
        with several_parts():
            assert main(flags) == 0
        printed = capfd.readouterr()
        output += printed.out + printed.err
        summaries.append(json.loads(printed.out.splitlines()[-1]))
    assert [summary["version"] for summary in summaries] == [1, 1]
    assert table_digests(table) == table_digests(str(local))
    assert (tmp_path / "cache").exists() == (places[3] != "disk")
    for stage in ("embed_candidates", "embed_references", "score_candidates"):
        assert summaries[1]["stages"][stage]["computed"] == 0 < summaries[1]["stages"][stage]["reused"]
    left = {uri: storage.read_bytes(uri) for folder in folders.values() for uri in storage.find(f"{folder}/**")}
    for name in ("versions/000001.json", "/work/partials/", "/work/reports/"):
        assert any(name in uri for uri in left)
    assert "bias table" in output
    assert_no_canary(output.encode(), *left.values())


@pytest.mark.slow
def test_a_second_run_on_s3_reads_the_bank_from_the_cache(
    local: Path, tmp_path: Path, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(local, s3)
    config = dataclasses.replace(config_at(s3, s3, s3, s3), cache_folder=str(tmp_path / "cache"))
    refresh(config, None, options())
    kept = {path.name for path in (tmp_path / "cache").iterdir()}
    assert len(kept) == 2  # an embedded shard of each file of the bank
    reads: list[str] = []
    real = storage.read_bytes
    monkeypatch.setattr(storage, "read_bytes", lambda uri: (reads.append(uri), real(uri))[1])
    more = dataclasses.replace(config, k=8, k_max=8)
    _, summary = refresh(more, None, options())
    assert summary["stages"]["score_candidates"]["computed"] > 0
    shards = [uri for uri in reads if re.search(r"/embedded/.*\.parquet", uri)]
    assert len(shards) == len(set(shards)) == 2  # those of the candidates


def test_no_credential_is_shown_when_it_is_refused(
    tmp_path: Path, s3: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with Proxy(s3_endpoint).running() as proxy:
        proxy.faults += [Fault(method, "", 403, "InvalidAccessKeyId", 999) for method in ("GET", "HEAD", "PUT", "POST")]
        use_s3(monkeypatch, proxy.endpoint, KEY, SECRET)
        monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
        assert main(refresh_flags(tmp_path, *[s3] * 4)) == 7
    output = "".join(capfd.readouterr())
    assert f"cannot reach '{s3}" in output
    assert_no_canary(output.encode())


@pytest.mark.parametrize("flag", ["--candidates", "--references", "--table", "--work"])
def test_credentials_in_flags_are_refused_and_not_shown(
    tmp_path: Path, flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = refresh_flags(tmp_path, *[str(tmp_path)] * 4)
    flags[flags.index(flag) + 1] = f"https://me:{SECRET}@127.0.0.1:9/x?sig={TOKEN}"
    assert main(flags) == 2
    error = capsys.readouterr().err
    assert f"{flag} 'https://[redacted]@127.0.0.1:9/x?sig=[redacted]' holds credentials" in error
    assert_no_canary(error.encode())


@pytest.mark.parametrize(
    "flags",
    [
        [f"--s3_secret_access_key={SECRET}"],
        ["--azure_connection_string", SECRET],
        ["--flink_master", f"http://me:{SECRET}@host"],
        [f"--job_endpoint=me:{SECRET}@host:8099"],
        ["--labels", "a=b", f"--tempo_location=gs://b/x?sig={TOKEN}"],
    ],
)
def test_flags_of_beam_for_credentials_are_refused(flags: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"written into the job graph.*environment") as caught:
        options(*flags)
    assert_no_canary(str(caught.value).encode())


def payloads(data: bytes) -> Iterator[bytes]:
    """``data``, and what is pickled and packed in it, however deep."""
    yield data
    for blob in re.findall(rb"(?:QlpoO|eN[opqrstuvwxyz]|eJ)[A-Za-z0-9+/]{20,}={0,2}", data):
        for unpack in (bz2.decompress, zlib.decompress):
            try:
                yield from payloads(unpack(base64.b64decode(blob)))
            except (OSError, ValueError, zlib.error):
                continue


def test_no_credential_is_in_the_job_graph(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, canary in zip(("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN"), CANARIES, strict=True):
        monkeypatch.setenv(f"AWS_{name}", canary)
    work = f"{s3}/{uuid.uuid4().hex}"
    pipeline = beam.Pipeline(options=options())
    define_refresh(pipeline, config_at(s3, s3, s3, work), None)
    found = list(payloads(pipeline.to_runner_api().SerializeToString()))
    assert sum(work.encode() in payload for payload in found) >= 2, "the graph was not unpacked"
    assert_no_canary(*found)
