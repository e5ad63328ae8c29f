"""No credential of a URI is shown, and none is accepted; URIs without any are left as they are."""

from __future__ import annotations

import pytest

from nnn_core import load_bias_table, storage
from nnn_core.errors import ConfigError
from nnn_core.redaction import redact, refuse_credentials

WITH = {
    "https://me:HUSH@host/x": "https://[redacted]@host/x",
    "https://HUSH@host/x": "https://[redacted]@host/x",
    "sftp://me:HUSH@host:22/x": "sftp://[redacted]@host:22/x",
    "s3://AKIA:HU/SH+x=@bucket/x": "s3://[redacted]@bucket/x",
    "simplecache::https://me:HUSH@host/x": "simplecache::https://[redacted]@host/x",
    "https://h/x?X-Amz-Date=1&X-Amz-Signature=HUSH": "https://h/x?X-Amz-Date=1&X-Amz-Signature=[redacted]",
    "https://h/x?X-Amz-Credential=HUSH&a=1": "https://h/x?X-Amz-Credential=[redacted]&a=1",
    "https://h/x?sv=2020&sig=HUSH": "https://h/x?sv=2020&sig=[redacted]",
    "https://h/x?Signature=HUSH&Expires=1": "https://h/x?Signature=[redacted]&Expires=1",
    "https://h/x?access_token=HUSH": "https://h/x?access_token=[redacted]",
    "https://h/x?TOKEN=HUSH": "https://h/x?TOKEN=[redacted]",
    "gs://b/x?api-key=HUSH": "gs://b/x?api-key=[redacted]",
}

WITHOUT = [
    "s3://bucket/a:b@c/*.tar",
    "gs://bucket/x-{00..12}.tar",
    "https://host:8080/a@b.tar",
    "http://[::1]:9000/a@b",
    "https://h/x?versionId=3&design=1&monkey=2&author=me",
    "abfs://container@account.dfs.core.windows.net/x",
    "hdfs://me@host/x",
    "s3://arn:aws:s3:eu-west-1:1:accesspoint/a/x@y",
    "/disk/a:b@c?token=1.tar",
    "part-?.tar",
]


@pytest.mark.parametrize(("uri", "shown"), WITH.items())
def test_what_is_shown(uri: str, shown: str) -> None:
    assert redact(uri) == shown
    assert "HU" not in redact(f"ClientError(403, url={uri!r}) and {uri} twice")


@pytest.mark.parametrize("uri", WITHOUT)
def test_what_is_left_alone(uri: str) -> None:
    refuse_credentials(uri)
    if "://" in uri:
        assert redact(f"cannot reach {uri!r}: x@y") == f"cannot reach {uri!r}: x@y"


@pytest.mark.parametrize("uri", WITH)
def test_a_uri_with_credentials_is_refused(uri: str) -> None:
    with pytest.raises(ConfigError, match=r"--table '.*\[redacted\].*' holds credentials.*environment") as caught:
        refuse_credentials(uri, "--table")
    assert "HU" not in str(caught.value)
    for act in (
        storage.read_bytes,
        storage.find,
        storage.exists,
        load_bias_table,
        lambda uri: storage.create(uri, b""),
    ):
        with pytest.raises(ConfigError, match="holds credentials") as caught:
            act(uri)
        assert "HU" not in str(caught.value)
