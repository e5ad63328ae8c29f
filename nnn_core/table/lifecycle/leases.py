"""Leases: small objects that say that a refresh is at work with a folder of artefacts, as long as they are renewed.

A refresh reuses artefacts of any age, which no version names until it is published. So nothing is cleaned while one is
at work. A job that was killed renews nothing, and is soon no reason to wait any more.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator

from nnn_core import storage
from nnn_core.artifacts import to_sealed
from nnn_core.errors import NNNError
from nnn_core.table.lifecycle._age import MIN_AGE, written_before

_LOG = logging.getLogger("nnn")

_FOLDER = "leases"

#: Seconds between two renewals: several fit into the time after which a lease has run out.
RENEWED_AFTER = MIN_AGE / 6


@contextlib.contextmanager
def leased(work: str, run: str) -> Iterator[None]:
    """Hold a lease on a folder of artefacts for as long as something is done inside.

    Args:
        work: URI of the folder of artefacts.
        run: name of the run, which no other has.

    Raises:
        StorageError: the folder cannot be written.
    """
    names = [_write(work, run, 0)]
    done = threading.Event()

    def renew() -> None:
        number = 0
        while not done.wait(RENEWED_AFTER):
            number += 1
            try:
                names.append(_write(work, run, number))
                storage.remove(names[-2])
            except NNNError as error:  # the job itself will tell if the store stays out of reach
                _LOG.warning("the lease on %s was not renewed: %s", work, error)

    thread = threading.Thread(target=renew, name="nnn lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        for name in names:
            with contextlib.suppress(NNNError):
                storage.remove(name)


def _at_work(work: str, now: float) -> list[str]:
    """URIs of the leases on a folder that have not run out.

    Args:
        work: URI of the folder of artefacts.
        now: the time, in seconds since 1970.
    """
    folder = storage.join(work, _FOLDER)
    uris = (storage.join(folder, name) for name in storage.list_names(folder))
    return [uri for uri in uris if storage.exists(uri) and not written_before(uri, now - MIN_AGE)]


def _write(work: str, run: str, number: int) -> str:
    uri = storage.join(work, _FOLDER, f"{run}-{number:06d}.json")
    storage.create(uri, to_sealed({"run": run, "renewed": number}, uri))
    return uri
