"""Errors of stores that pass by themselves, and trying again until they have.

The clients of stores try again too (botocore and s3fs five times each, gcsfs six times, each with waits of its
own), but not after every error and not for ever. What is added here is bounded in attempts and in time together, and
the time that a client has spent counts: where it waited for a minute, nothing is tried again.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import random
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import tenacity

from nnn_core.errors import NOTHING_PUBLISHED, StorageError
from nnn_core.events import Event
from nnn_core.redaction import redact

#: How often an action is tried, and for how many seconds at most a new attempt is started.
ATTEMPTS = 5
SECONDS = 60.0

_FIRST_WAIT, _LONGEST_WAIT = 0.5, 10.0

#: What names another S3 store than Amazon's to its client.
_ENDPOINTS = {"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "FSSPEC_S3_ENDPOINT_URL"}

_LOG = logging.getLogger(__name__)

#: Of its own, so that waiting does not move the generator that a program may have seeded.
_JITTER = random.SystemRandom()

#: Answers over HTTP: too slow, another writer was in the way, too much load, and defects of the store.
_PASSING_STATUS = frozenset({408, 409, 425, 429, 500, 502, 503, 504})

#: The same in the words of S3, which sends some of them under another status.
_PASSING_CODES = {
    *("BandwidthLimitExceeded", "ConditionalRequestConflict", "InternalError", "OperationAborted", "RequestTimeout"),
    *("ServiceUnavailable", "SlowDown", "Throttling", "ThrottlingException"),
}

_PASSING_ERRNO = {
    *(errno.EAGAIN, errno.EBUSY, errno.EREMOTEIO),
    *(errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETRESET, errno.ENETUNREACH),
}

#: Classes of the clients (which are not imported for it) for a connection that broke or was not made in time.
_PASSING_CLASSES = {
    *("ChecksumError", "ChunkedEncodingError", "ClientConnectionError", "ClientPayloadError", "ConnectionError"),
    *("HTTPClientError", "IncompleteRead", "IncompleteReadError", "ProtocolError", "ResponseParserError"),
    *("ServiceRequestError", "ServiceResponseError", "Timeout", "TransportError"),
}

#: Classes that derive from those and stay: a certificate that is not trusted, an object that was replaced.
_LASTING_CLASSES = frozenset({"SSLError", "ClientConnectorCertificateError", "ClientSSLError", "FileExpired"})
_LASTING = (FileExistsError, FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)

#: Packages of stores' clients, whose errors (no credentials, say) are not Python's own.
_CLIENTS = ("botocore", "aiobotocore", "aiohttp", "urllib3", "google", "gcsfs", "azure", "adlfs")

Result = TypeVar("Result")


def is_of_store(error: BaseException) -> bool:
    """Whether a store or the way to it is to blame, rather than this program."""
    # A ValueError is a name that a client refuses to ask for.
    return isinstance(error, (OSError, ValueError)) or type(error).__module__.partition(".")[0] in _CLIENTS


@contextlib.contextmanager
def reaching(uri: str) -> Iterator[None]:
    """Turn what goes wrong on the way to a store, with whatever class its client has for it, into one error.

    Raises:
        StorageError: ``uri`` cannot be reached, or not with these credentials.
    """
    try:
        yield
    except Exception as error:
        if not is_of_store(error):
            raise
        raise unreachable(uri, error) from error


def unreachable(uri: str, error: BaseException) -> StorageError:
    """The error that says that ``uri`` cannot be reached because of ``error``."""
    elsewhere = ""
    if uri.startswith(("s3://", "s3a://")) and not (os.environ.keys() & _ENDPOINTS):
        elsewhere = " For an S3 store that is not Amazon's, set AWS_ENDPOINT_URL to its address."
    return StorageError(
        f"cannot reach {uri!r}: {reason(error)}. {NOTHING_PUBLISHED} Check its name, its credentials and "
        f"the network, and run the same command again.{elsewhere}"
    )


def is_transient(error: BaseException) -> bool:
    """Whether the same action may well succeed in a moment."""
    classes = {cls.__name__ for cls in type(error).__mro__}
    if isinstance(error, _LASTING) or classes & _LASTING_CLASSES:
        return False
    answers = set(_answers(error))
    if answers & _PASSING_CODES:
        return True
    if statuses := {answer for answer in answers if isinstance(answer, int) and answer >= 400}:
        return bool(statuses & _PASSING_STATUS)
    if isinstance(error, (ConnectionError, TimeoutError)) or classes & _PASSING_CLASSES:
        return True
    return isinstance(error, OSError) and error.errno in _PASSING_ERRNO


def is_denied(error: BaseException) -> bool:
    """Whether the store knows who asks, or does not, and refuses."""
    # gcsfs has neither a class nor a number for it.
    forbidden = isinstance(error, OSError) and str(error).startswith("Forbidden")
    return isinstance(error, PermissionError) or forbidden or bool({401, 403} & set(_answers(error)))


def _answers(error: BaseException) -> Iterator[int | str]:
    """Status and code of the store's answer, where the error or what it was made of holds one."""
    for each in (error, error.__cause__):
        found: list[Any] = [getattr(each, name, None) for name in ("status", "status_code", "code")]
        if isinstance(response := getattr(each, "response", None), dict):
            found = [response.get("Error", {}).get("Code"), response.get("ResponseMetadata", {}).get("HTTPStatusCode")]
        for answer in found:
            if isinstance(answer, (int, str)):
                yield int(answer) if isinstance(answer, str) and answer.isdigit() else answer


def retry(action: Callable[[], Result], uri: str) -> Result:
    """The result of ``action``, which is tried again while its errors are transient.

    Args:
        action: function to call, which may safely be called twice.
        uri: what the action works on, for the log.

    Raises:
        Exception: the last error of ``action``.
    """

    def report(state: tenacity.RetryCallState) -> None:
        if state.outcome and (error := state.outcome.exception()) and state.next_action:
            tried, seconds = state.attempt_number, round(state.next_action.sleep, 1)
            _LOG.warning(Event("trying again", uri=uri, error=reason(error), tried=tried, seconds=seconds))

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(is_transient),
        stop=tenacity.stop_any(tenacity.stop_after_attempt(ATTEMPTS), tenacity.stop_before_delay(SECONDS)),
        wait=_wait,
        before_sleep=report,
        reraise=True,
    )
    return retrying(action)


def _wait(state: tenacity.RetryCallState) -> float:
    """Twice as long each time, of which a random half is left out so that workers do not come back together."""
    longest = min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** (state.attempt_number - 1))
    return _JITTER.uniform(longest / 2, longest)


def reason(error: BaseException) -> str:
    """What an error says, without its number and without credentials."""
    if isinstance(error, FileNotFoundError) and " " not in str(error):  # clients only repeat the name
        return "there is no such object"
    return redact(getattr(error, "strerror", None) or str(error).rstrip(".") or type(error).__name__)
