"""What engines are made of, each fetched once into a folder: by ``make test-runners``, which runs this program.

A part that cannot be had leaves its reason there, and the engines that need it are skipped with it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]
HOME = Path(os.environ.get("NNN_RUNNERS", ROOT / ".runners"))

#: The part of Flink's distribution that a PyPI package of its Python API brings along.
_FLINK = "apache-flink-libraries==1.19.0"
_SECONDS = 1200

#: Maven's local repository is not made for two at once.
_MAVEN = threading.Lock()


def beam_version() -> str:
    """Of the Python package: Prism and the boot program are of the same."""
    found = re.search(r"^apache-beam==(\S+)$", (ROOT / "deploy/constraints.txt").read_text(), re.M)
    assert found
    return found[1]


def _run(*command: str, **environment: str) -> None:
    if not shutil.which(command[0]):
        raise RuntimeError(f"{command[0]} is not installed")
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=_SECONDS, cwd=ROOT
    )
    if done.returncode:
        last = (done.stdout + done.stderr).strip().splitlines() or ["without a word"]
        raise RuntimeError(f"{' '.join(command[:3])} failed: {last[-1]}")


def _install_java(target: Path) -> None:
    """A JDK and Maven of Debian, where there are none and the program may."""
    if not (shutil.which("java") and shutil.which("mvn")):
        if os.geteuid():
            raise RuntimeError("java and mvn are not installed, and only root may install them")
        _run("apt-get", "update")
        _run("apt-get", "install", "-y", "--no-install-recommends", "default-jdk-headless", "maven")
    target.write_text(f"{shutil.which('java')}\n")


def _go(package: str) -> Callable[[Path], None]:
    def install(target: Path) -> None:
        module = f"github.com/apache/beam/sdks/v2/{package}@v{beam_version()}"
        _run("go", "install", module, GOBIN=str(target.parent))

    return install


def _job_server(target: Path) -> None:
    engine, built = target.name.partition("-")[0], target.with_suffix(".build")
    with _MAVEN:
        _run("mvn", "-q", "-B", "-f", f"deploy/{engine}/pom.xml", "package", f"-Doutput={built}")
    (built / target.name).rename(target)
    shutil.rmtree(built)


def _flink_distribution(target: Path) -> None:
    folder = target.parent / "download"
    command = ("pip", "download", "-q", "--no-deps", "--no-binary", ":all:", "--no-build-isolation", "-d", str(folder))
    _run(sys.executable, "-m", *command, _FLINK)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as files:
        libraries = [each for each in files.getmembers() if "/deps/lib/" in each.name and each.name.endswith(".jar")]
        for each in libraries:
            each.name = Path(each.name).name
        files.extractall(target, libraries, filter="data")
    shutil.rmtree(folder)


#: Name of each part's file or folder, and what puts it there.
PARTS: dict[str, Callable[[Path], None]] = {
    "java": _install_java,
    "prism": _go("go/cmd/prism"),
    "container": _go("python/container"),
    "flink-job-server.jar": _job_server,
    "spark-job-server.jar": _job_server,
    "flink": _flink_distribution,
}


def missing(*parts: str) -> str | None:
    """Why one of the parts is not there; None if all are."""
    for part in parts:
        reason = HOME / f"{part}.missing"
        if not (HOME / part).exists():
            return reason.read_text().strip() if reason.exists() else f"no {part} below {HOME}; run make test-runners"
    return None


def fetch() -> None:
    """Fetch what is not there yet, Java first, since job servers are built with it; the rest side by side."""
    HOME.mkdir(exist_ok=True)
    _fetch("java")
    with ThreadPoolExecutor() as pool:
        list(pool.map(_fetch, PARTS))


def _fetch(part: str) -> None:
    reason = HOME / f"{part}.missing"
    if (HOME / part).exists():
        return
    begun = time.monotonic()
    try:
        PARTS[part](HOME / part)
        reason.unlink(missing_ok=True)
        print(f"{part}: fetched in {time.monotonic() - begun:.0f} s", flush=True)
    except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
        reason.write_text(f"{error}\n")
        print(f"{part}: {error}", flush=True)


if __name__ == "__main__":
    fetch()
