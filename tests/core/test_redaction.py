"""No credential of a URI is shown, and none is accepted; URIs without any are left as they are."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnn_core import load_bias_table, storage
from nnn_core.errors import ConfigError
from nnn_core.redaction import harmless, is_secret, redact, refuse_credentials

pytestmark = pytest.mark.counted

#: Records whether one more secret was kept, see ``conftest.py``.
Record = Callable[[str, int, int], None]

KEPT = "secrets that are refused where they are given, and not shown"

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


def is_kept(uri: str) -> bool:
    """Whether a URI is refused, and shown without the secret in it, which begins with HU."""
    try:
        refuse_credentials(uri)
    except ConfigError as error:
        return "HU" not in f"{error}{redact(uri)}"
    return False


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
def test_a_uri_with_credentials_is_refused(uri: str, record_count: Record) -> None:
    record_count(KEPT, is_kept(uri), 1)
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
        "https://h/x?key=HUSH",
        "https://h/x?account.key=HUSH",
        "https://h/x?%73ig=HUSH",
        "https://h/x?AWSAccessKeyId=HUSH",
        "https://h/x?next=https%3A%2F%2Fh%2Fx%3Fsig%3DHUSH",
        "https://h/hf_HUSHHUSHHUSHHUSHHUSHHUSHHUSHHUSH/x",
        "s3://b/AKIAHUSHHUSHHUSHHUSH/x",
    ],
)
def test_further_forms_of_secrets(uri: str, record_count: Record) -> None:
    record_count(KEPT, is_kept(uri), 1)
    assert "HUSH" not in redact(f"GET {uri} failed")
    with pytest.raises(ConfigError):
        refuse_credentials(uri)


@pytest.mark.parametrize(
    "uri",
    [
        "https://h/x?barcode=1&keynote=2&zipcode=3",
        "https://h/x?sort_key=a&partition-key=3&tokenizer=clip&token_count=3",
        "gs://b/code=3/part",
        "gs://b/x;lang=en",
        "https://h/x#part-2",
    ],
)
def test_harmless_forms(uri: str) -> None:
    refuse_credentials(uri)


@pytest.mark.parametrize(
    "text",
    [
        "sent Authorization: Bearer HUSHHUSH123456.x",
        "sent Authorization: Basic SFVTSEhVU0g=HUSH",
        "AccountName=x;AccountKey=HUSH;EndpointSuffix=core",
        "{'user': 'me', 'password': 'HUSH'}",
        "aws_secret_access_key=HUSH was refused",
        "-----BEGIN RSA PRIVATE KEY-----\nHUSH",
    ],
)
def test_text_that_stores_send_back(text: str, record_count: Record) -> None:
    record_count(KEPT, "HUSH" not in redact(text), 1)
    assert "HUSH" not in redact(text)


@pytest.mark.parametrize(
    ("option", "value", "secret"),
    [
        ("--s3_secret_access_key", "x", True),
        ("--s3_access_key_id", "x", True),
        ("--s3_session_token", "x", True),
        ("--azure_connection_string", "x", True),
        ("--job_endpoint", "me:HUSH@host:8099", True),
        ("--flink_master", "http://me:HUSH@host", True),
        ("--job_endpoint", "localhost:8099", False),
        ("--sdk_container_image", "image:3@sha256:abc", False),
        ("--service_account_email", "nnn@p.iam.gserviceaccount.com", False),
        ("--dataflow_kms_key", "projects/p/locations/l/keyRings/r/cryptoKeys/k", False),
        ("--gcp_oauth_scopes", "https://www.googleapis.com/auth/cloud-platform", False),
        ("--no_auth", "", False),
    ],
)
def test_options_with_secrets(option: str, value: str, secret: bool, record_count: Record) -> None:
    record_count(KEPT, secret and is_secret(option, value), secret)
    assert is_secret(option, value) is secret


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
