"""Where reports lie: a page and its content as JSON, under one stem."""

from __future__ import annotations

import logging

from nnn_core import storage
from nnn_core.digests import sha256
from nnn_core.errors import InputError, StorageError
from nnn_core.report._content import Report
from nnn_core.report._page import render

#: The page of the newest refresh, below the folder of reports.
_LATEST = "latest.html"


def write_report(report: Report, work: str, name: str, uri: str | None = None, *, latest: bool = False) -> str:
    """Write the page and, beside it, its JSON; returns the page's URI.

    Args:
        report: the content of the page.
        work: folder of artefacts, below which the page lies by default.
        name: beginning of the default name, which ends in a digest of the page.
        uri: the name that was asked for, if any.
        latest: whether both are also what ``latest.html`` and ``latest.json`` of the default folder hold from now on.
            Where these cannot be written there is a warning: they are copies.

    Raises:
        StorageError: there is a file under the name that was asked for.
    """
    page = render(report).encode()
    where = uri or storage.join(work, "reports", f"{name}-{sha256(page)[:12]}.html")
    if not storage.create(where, page) and uri:
        raise StorageError(f"--report {uri!r} exists already and was left as it is. Name a new file.")
    content = report.to_json()
    storage.create(where.removesuffix(".html") + ".json", content)
    if latest:
        try:
            for copy, data in ((_LATEST, page), ("latest.json", content)):
                storage.replace(storage.join(work, "reports", copy), data)
        except StorageError as error:
            logging.getLogger("nnn").warning("%s shows an older report: %s", _LATEST, error)
    return where


def read_report(uri: str) -> Report:
    """A report by the URI of its page or of its JSON.

    Raises:
        InputError: there is no such file.
        CorruptArtifactError: what the file holds is no report.
    """
    where = uri.removesuffix(".html") + ".json" if uri.endswith(".html") else uri
    try:
        data = storage.read_bytes(where)
    except InputError as error:
        raise InputError(f"{error} Check the path. Reports lie below WORK/reports by default.") from None
    return Report.from_json(data, where)
