"""No credential of a URI is shown, and none is accepted; URIs without any are left as they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnn_core import load_bias_table, storage
from nnn_core.errors import ConfigError
from nnn_core.redaction import harmless, redact, refuse_credentials

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


@pytest.mark.parametrize(
    "uri",
    [
        "https://h/x?jwt=HUSH",
        "https://h/x?bearer=HUSH&a=1",
        "https://h/x?code=HUSH",
        "https://h/x;jsessionid=HUSH?a=1",
        "https://h/x#access_token=HUSH",
        "https://h/x?a=1#id_token=HUSH&state=2",
        "https://h/x?sid=HUSH",
        "https://h/eyJhbGciOiJI.eyJzdWIiOiIx.HUSHHUSH/x",
    ],
)
def test_further_forms_of_secrets(uri: str) -> None:
    assert "HUSH" not in redact(f"GET {uri} failed")
    with pytest.raises(ConfigError):
        refuse_credentials(uri)


@pytest.mark.parametrize(
    "uri", ["https://h/x?barcode=1&keynote=2&zipcode=3", "gs://b/code=3/part", "https://h/x#part-2"]
)
def test_harmless_forms(uri: str) -> None:
    refuse_credentials(uri)


def test_a_header_is_blotted_out() -> None:
    assert redact("sent Authorization: Bearer abcDEF123456.x") == "sent Authorization: Bearer [redacted]"


NAMES = st.sampled_from(["token", "X-Amz-Signature", "apikey", "my_password", "client_secret", "jwt", "sig", "sid"])
SECRETS = st.text("abcdefABCDEF0123456789+/=_.~-%", min_size=4, max_size=30).map(lambda text: f"HU{text}SH")


@given(NAMES, SECRETS, st.sampled_from("?&;#"), st.sampled_from(["", "&a=1", "#top"]))
def test_no_value_of_a_secret_parameter_is_shown(name: str, secret: str, mark: str, rest: str) -> None:
    assert secret not in redact(f"cannot reach 'https://h/x{mark}{name}={secret}{rest}' now")


@given(st.text())
def test_text_is_made_harmless(text: str) -> None:
    shown = harmless(text)
    assert all(each.isprintable() or each in "\n\t\u200c\u200d" for each in shown)
    assert harmless(shown) == shown
    assert (shown == text) == all(each.isprintable() or each in "\n\t\u200c\u200d" for each in text)


def test_what_controls_a_terminal_is_written_out() -> None:
    assert harmless("\x1b[2Ja\u202eb\x07\r") == "\\x1b[2Ja\\u202eb\\x07\\r"
    assert harmless("a caf\u00e9 \U0001f468\u200d\U0001f469\n") == "a caf\u00e9 \U0001f468\u200d\U0001f469\n"
