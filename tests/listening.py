"""Where a process listens, and whether it is connected, as the system has it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

_ESTABLISHED, _LISTENS = "01", "0A"


def listening(pid: int) -> set[str]:
    """The addresses on which a process listens for connections over TCP."""
    return {_address(local.partition(":")[0]) for local in _endpoints(pid, _LISTENS)}


def is_connected(pid: int) -> bool:
    """Whether a process has a connection over TCP."""
    return any(_endpoints(pid, _ESTABLISHED))


def _endpoints(pid: int, state: str) -> Iterator[str]:
    """The own end of each of the process's sockets in a state, as the kernel writes it."""
    own = set(_sockets(pid))
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == state and fields[9] in own:
                yield fields[1]


def _sockets(pid: int) -> Iterator[str]:
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{name}")
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            yield target[len("socket:[") : -1]


def _address(text: str) -> str:
    """An address of the table, in which every four bytes stand in the order of the machine."""
    data = b"".join(bytes.fromhex(text[place : place + 8])[::-1] for place in range(0, len(text), 8))
    return socket.inet_ntop(socket.AF_INET if len(data) == 4 else socket.AF_INET6, data)
