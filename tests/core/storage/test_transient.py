"""Which errors are worth another attempt, how many there are, and how long they may take."""

from __future__ import annotations

import errno
import logging
import random
import time

import pytest

from nnn_core.storage import _transient as transient
from nnn_core.storage._transient import is_denied, is_transient, reason, retry


class AnswerError(Exception):
    """As botocore's."""

    def __init__(self, status: int, code: str = "") -> None:
        super().__init__(f"{status} {code}")
        self.response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}


class StatusError(Exception):
    """As those of aiohttp, gcsfs and Azure."""

    def __init__(self, name: str, status: object) -> None:
        super().__init__(str(status))
        setattr(self, name, status)


def named(*names: str) -> Exception:
    """An instance of classes of these names, the first derived from the next."""
    cls: type = Exception
    for name in reversed(names):
        cls = type(name, (cls,), {})
    error: Exception = cls("x")
    return error


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


PASSING = [
    ConnectionResetError(errno.ECONNRESET, "reset"),
    ConnectionRefusedError(errno.ECONNREFUSED, "refused"),
    BrokenPipeError(errno.EPIPE, "pipe"),
    TimeoutError("late"),
    OSError(errno.EBUSY, "busy"),
    OSError(errno.ENETUNREACH, "unreachable"),
    *(AnswerError(status) for status in (408, 409, 429, 500, 502, 503, 504)),
    AnswerError(400, "RequestTimeout"),
    AnswerError(200, "InternalError"),
    StatusError("status", 503),
    StatusError("status_code", 500),
    StatusError("code", "502"),
    caused(OSError(errno.EIO, "translated"), AnswerError(503, "SlowDown")),
    named("ReadTimeoutError", "HTTPClientError"),
    named("EndpointConnectionError", "ConnectionError"),
    named("ClientPayloadError"),
]

LASTING = [
    FileNotFoundError(errno.ENOENT, "missing"),
    PermissionError(errno.EACCES, "denied"),
    FileExistsError("taken"),
    caused(PermissionError("denied"), AnswerError(503, "SlowDown")),
    OSError(errno.ENOSPC, "full"),
    OSError(errno.EROFS, "read-only"),
    OSError("Forbidden: b/x"),
    *(AnswerError(status) for status in (301, 400, 401, 403, 404, 405, 412)),
    StatusError("status", 403),
    StatusError("code", "ExpiredToken"),
    named("NoCredentialsError", "BotoCoreError"),
    named("SSLError", "ConnectionError"),
    named("ClientConnectorCertificateError", "ClientConnectionError"),
    caused(named("FileExpired"), OSError(errno.EBUSY, "busy")),
    ValueError("a defect"),
    KeyError("a defect"),
]


@pytest.mark.parametrize("error", PASSING, ids=repr)
def test_what_passes(error: Exception) -> None:
    assert is_transient(error)


@pytest.mark.parametrize("error", LASTING, ids=repr)
def test_what_stays(error: Exception) -> None:
    assert not is_transient(error)


@pytest.mark.parametrize("error", [PermissionError("x"), AnswerError(403), AnswerError(401), OSError("Forbidden: b")])
def test_what_is_denied(error: Exception) -> None:
    assert is_denied(error)
    assert not is_denied(FileNotFoundError("x"))
    assert not is_denied(AnswerError(404))


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    return waited


def failing(times: int, error: Exception) -> list[Exception | str]:
    return [error] * times + ["done"]


def act(outcomes: list[Exception | str]) -> str:
    outcome = outcomes.pop(0)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def test_a_transient_error_is_tried_again(waits: list[float], caplog: pytest.LogCaptureFixture) -> None:
    outcomes = failing(3, ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"))
    with caplog.at_level(logging.WARNING):
        assert retry(lambda: act(outcomes), "s3://b/x") == "done"
    assert [low <= wait <= 2 * low for low, wait in zip((0.25, 0.5, 1.0), waits, strict=True)] == [True] * 3
    assert [record.getMessage().partition(" seconds=")[0] for record in caplog.records] == [
        f'trying again uri=s3://b/x error="Connection reset by peer" tried={number}' for number in (1, 2, 3)
    ]


def test_attempts_are_bounded(waits: list[float]) -> None:
    outcomes = failing(99, TimeoutError("late"))
    with pytest.raises(TimeoutError, match="late"):
        retry(lambda: act(outcomes), "x")
    assert 100 - len(outcomes) == transient.ATTEMPTS == len(waits) + 1


def test_the_time_of_a_client_counts(waits: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    outcomes = failing(99, TimeoutError("late"))

    def slow() -> str:
        clock[0] += 40.0
        return act(outcomes)

    with pytest.raises(TimeoutError):
        retry(slow, "x")
    assert clock[0] == 80.0


def test_an_error_that_stays_is_tried_once(waits: list[float]) -> None:
    outcomes = failing(1, PermissionError("denied"))
    with pytest.raises(PermissionError):
        retry(lambda: act(outcomes), "x")
    assert (outcomes, waits) == (["done"], [])


def test_waiting_leaves_the_generator_of_the_program_alone(waits: list[float]) -> None:
    random.seed(1)
    state = random.getstate()
    retry(lambda: act(outcomes), "x") if (outcomes := failing(2, TimeoutError())) else None
    assert random.getstate() == state
    assert len(waits) == 2


def test_a_reason_holds_no_credentials() -> None:
    assert reason(OSError(2, "gone")) == "gone"
    assert reason(ValueError("bad.")) == "bad"
    assert reason(FileNotFoundError("bucket/x")) == "there is no such object"
    assert reason(FileNotFoundError("The specified bucket does not exist")) == "The specified bucket does not exist"
    assert reason(TimeoutError()) == "TimeoutError"
    assert reason(ValueError("url='https://h/x?sig=abc'")) == "url='https://h/x?sig=[redacted]'"


@pytest.mark.parametrize(
    ("uri", "given", "said"),
    [("s3://b/x", {}, True), ("s3://b/x", {"AWS_ENDPOINT_URL": "http://minio"}, False), ("gs://b/x", {}, False)],
)
def test_an_address_is_asked_for_where_the_store_may_not_be_amazons(
    monkeypatch: pytest.MonkeyPatch, uri: str, given: dict[str, str], said: bool
) -> None:
    for name in transient._ENDPOINTS:
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert ("set AWS_ENDPOINT_URL to its address" in str(transient.unreachable(uri, OSError("no route")))) is said
