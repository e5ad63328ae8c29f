"""Moto's S3, with conditional writes that are atomic, as they are in S3.

Moto looks whether a key is there and then writes it, in one thread a request: two that come together may both win.
"""

from __future__ import annotations

import threading
from typing import Any

from moto.s3.responses import S3Response
from moto.server import main

_writing = threading.Lock()
_put_object = S3Response.put_object


def _put_alone(response: S3Response) -> Any:
    with _writing:
        return _put_object(response)


if __name__ == "__main__":
    S3Response.put_object = _put_alone  # type: ignore[method-assign]
    main()
