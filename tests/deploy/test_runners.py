"""The job on real engines: the same bytes, counts and messages as in this process, and what a worker's death does.

``make test-runners`` runs them, and prints a line for each case.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import fsspec
import pytest
from clusters import ENGINES, ENVIRONMENT, Cluster, Engine, descendants, in_processes
from corpora import gaussian, write_jsonl, write_tar, write_vectors
from listening import is_connected
from PIL import Image
from runner_parts import HOME, ROOT, missing
from stores import own_s3

from nnn_core.table.manifest import list_versions, read_manifest

pytestmark = [pytest.mark.runners, pytest.mark.timeout(900)]

DIM = 16

#: Seconds that a command may take, however busy the machine is.
LONGEST = 600

#: What a job is at while files appear in a folder of its work.
WHILE = {"embedded": "embedding", "partials": "scoring"}

#: What this process made of an input, by its name: whatever the engine, it is run once.
HERE: dict[str, tuple[Ran, list[str]]] = {}


@dataclass(frozen=True)
class Ran:
    """A command that ended.

    Attributes:
        code: exit code.
        out: standard output.
        error: standard error.
    """

    code: int
    out: str
    error: str

    @property
    def summary(self) -> dict[str, Any]:
        """What the command printed for programs."""
        record: dict[str, Any] = json.loads(self.out.splitlines()[-1])
        return record

    @property
    def said(self) -> list[str]:
        """Lines of standard error but for progress."""
        return [line for line in self.error.splitlines() if " so far, " not in line and " of " not in line[:40]]


@dataclass(frozen=True)
class Place:
    """Where a refresh finds its input and leaves its table.

    Attributes:
        root: folder or URI that all of it lies below.
        flags: what is asked of each refresh here.
    """

    root: str
    flags: tuple[str, ...] = ("--k", "4", "--k-max", "8", "--reference-shard-rows", "40")

    def command(self, name: str, *flags: str, candidates: str = "*.parquet") -> list[str]:
        """A refresh of all input into the table and the work folder of this name."""
        return [
            *(sys.executable, "-m", "pipelines.commands.cli", "refresh", "--json", *self.flags),
            *("--candidates", f"{self.root}/candidates/{candidates}", "--references", f"{self.root}/references/*"),
            *("--table", self.table(name), "--work", f"{self.root}/{name}/work", *flags),
        ]

    def run(self, name: str, *flags: str, candidates: str = "*.parquet") -> Ran:
        with self.begun(name, *flags, candidates=candidates) as process:
            out, error = process.communicate(timeout=LONGEST)
        return Ran(process.returncode, out, error)

    @contextlib.contextmanager
    def begun(self, name: str, *flags: str, candidates: str = "*.parquet") -> Iterator[subprocess.Popen[str]]:
        """A refresh that runs; one that hangs is ended with its job server."""
        streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        command = self.command(name, *flags, candidates=candidates)
        with subprocess.Popen(command, env=ENVIRONMENT, start_new_session=True, **streams) as process:
            try:
                yield process
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)

    def table(self, name: str) -> str:
        return f"{self.root}/{name}/table"

    def digests(self, name: str) -> list[str]:
        """Of the files of the current version, if there is one."""
        return (
            [part.sha256 for part in read_manifest(self.table(name)).files] if list_versions(self.table(name)) else []
        )

    def here(self, what: str, *flags: str, candidates: str = "*.parquet") -> tuple[Ran, list[str]]:
        """What this process makes of the input that is called so: how it ended, and the digests of its table."""
        if what not in HERE:
            ran = self.run("here", *flags, candidates=candidates)
            HERE[what] = replace(ran, error=self.without_place(ran.error)), self.digests("here")
        return HERE[what]

    def without_place(self, text: str) -> str:
        """Nor with the name of an artefact: which of several comes first is not certain."""
        return re.sub("[0-9a-f]{40}", "NAME", text.replace(self.root, "ROOT").replace("/here/", "/there/"))

    def await_file(self, name: str, folder: str, process: subprocess.Popen[str]) -> None:
        """Wait until something lies below a folder of artefacts, or the job has ended."""
        while process.poll() is None and not list(Path(self.root, name, "work", folder).glob("*.*")):
            time.sleep(0.01)


def counts(summary: dict[str, Any]) -> dict[str, dict[str, int]]:
    """What stages did, without times and what depends on them."""
    counted = ("computed", "reused", "rows", "rejected", "pairs")
    return {
        stage: {name: figures[name] for name in counted if name in figures}
        for stage, figures in summary["stages"].items()
    }


def check_same(place: Place, there: Ran, here: tuple[Ran, list[str]]) -> None:
    """Bytes, counts, gates and whatever else programs are told, and nothing but warnings on standard error."""
    local, digests = here
    assert there.code == local.code == 0, there.error
    assert [place.without_place(line) for line in there.said] == local.said
    assert place.digests("there") == digests
    assert counts(there.summary) == counts(local.summary)
    for same in ("version", "rows", "gates", "search", "evaluation", "warnings"):
        assert there.summary[same] == local.summary[same]


def write_inputs(folder: Path) -> None:
    """Several files on both sides."""
    write_vectors(folder / "candidates", [f"item-{row}" for row in range(60)], gaussian(60, DIM, 1), 3)
    write_vectors(folder / "references", [f"query-{row}" for row in range(90)], gaussian(90, DIM, 2), 3)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runners")
    write_inputs(folder)
    return folder


@pytest.fixture
def place(inputs: Path, tmp_path: Path) -> Place:
    return Place(str(shutil.copytree(inputs, tmp_path / "in")))


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """A bucket that commands, and workers of engines that are started later, reach by the environment."""
    before = dict(ENVIRONMENT)
    with own_s3() as uri:
        ENVIRONMENT.update({name: value for name, value in os.environ.items() if name.startswith("AWS_")})
        yield uri
    ENVIRONMENT.clear()
    ENVIRONMENT.update(before)


@pytest.fixture(scope="module", params=ENGINES, ids=lambda engine: engine.name.replace(" ", "-"))
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, bucket: str
) -> Iterator[tuple[list[str], Cluster]]:
    """An engine that runs: the flags that lead to it, and its processes."""
    found: Engine = request.param
    if reason := missing(*found.parts):
        pytest.skip(f"{found.name}: {reason}")
    with found.running(tmp_path_factory.mktemp("engine")) as running:
        yield running


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Iterator[Callable[[str], None]]:
    """Prints the case with how long it took, once it passed."""
    start = time.monotonic()
    words: list[str] = []
    yield words.append
    if words:
        name = request.node.callspec.id.replace("-", " ")
        print(f"\n{name:<17} {words[0]} ({time.monotonic() - start:.0f} s)", flush=True)


Running = tuple[list[str], Cluster]
Case = Callable[[str], None]


def test_same_table_and_counts(engine: Running, place: Place, tmp_path: Path, case: Case) -> None:
    flags, cluster = engine
    first = place.here("first")
    check_same(place, place.run("there", *flags), first)
    write_vectors(tmp_path / "new", [f"item-{row}" for row in range(20)], gaussian(20, DIM, 3), 1)
    shutil.copy(tmp_path / "new" / "part-0.parquet", Path(place.root, "candidates", "part-0.parquet"))
    again = place.run("there", *flags)
    check_same(place, again, place.here("changed"))
    assert again.summary["stages"]["embed_candidates"]["reused"] == 2
    case(f"same bytes and counts as in this process, also with one file changed{tasks_of(cluster)}")


def tasks_of(cluster: Cluster) -> str:
    """How many tasks Flink made of the last job, bounded here: each costs time and network memory."""
    if cluster.web is None:
        return ""
    tasks: int = newest_job(cluster.web)["tasks"]["total"]
    assert tasks <= 60
    return f"; {tasks} tasks"


def newest_job(web: str) -> dict[str, Any]:
    """What Flink says of the job that began last."""
    jobs = json.load(urllib.request.urlopen(f"{web}/jobs/overview"))["jobs"]
    newest: dict[str, Any] = max(jobs, key=lambda job: job["start-time"])
    return newest


def test_images_and_an_encoder(engine: Running, tmp_path: Path, case: Case) -> None:
    encoder = ROOT / "nnn_core" / "demo" / "encoder"
    place = Place(str(tmp_path), ("--k", "2", "--encoder", f"open_clip:local-dir:{encoder}"))
    for number in range(2):
        pictures = {f"{number}-{shade}": picture(40 * shade, 120 * number) for shade in range(5)}
        write_tar(tmp_path / "candidates" / f"{number}.tar", {key: {"png": data} for key, data in pictures.items()})
    captions = [{"id": str(row), "caption": f"a {word} square"} for row, word in enumerate(["red", "green", "grey"])]
    write_jsonl(tmp_path / "references" / "captions.jsonl", captions)
    there = place.run("there", *engine[0], candidates="*.tar")
    check_same(place, there, place.here("images", candidates="*.tar"))
    case("images and captions through an encoder: same bytes and counts")


@pytest.mark.parametrize("copies", [1, 2])
def test_workers_that_share_models(engine: Running, tmp_path: Path, case: Case, copies: int) -> None:
    """Two worker processes of a machine; which of them holds a model may change in the course of a job."""
    flags = [*flags_to_other_workers(engine), "--model-copies", str(copies), "--candidate-modality", "text"]
    place = Place(str(tmp_path), ("--k", "2", "--encoder", "python:fakes:SignedEncoder"))
    (tmp_path / "loaded").mkdir()
    for number in range(4):
        captions = [f"{tmp_path / 'loaded'} {'a' * (row + 1)} {number}" for row in range(5)]
        rows = [{"id": f"{number}-{row}", "caption": caption} for row, caption in enumerate(captions)]
        write_jsonl(tmp_path / "candidates" / f"{number}.jsonl", rows)
        pictures = {f"{number}-{shade}": {"png": picture(40 * shade, 60 * number)} for shade in range(5)}
        write_tar(tmp_path / "references" / f"{number}.tar", pictures)
    there = place.run("there", *flags, candidates="*.jsonl")
    loaded = len(list((tmp_path / "loaded").iterdir()))
    check_same(place, there, place.here(f"{copies} shared", *flags[-4:], candidates="*.jsonl"))
    assert loaded
    case(f"--model-copies {copies}: same bytes, {loaded} of the workers embedded")


def picture(red: int, green: int) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (64, 64), (red, green, 90)).save(data, "PNG")
    return data.getvalue()


def test_same_messages(engine: Running, place: Place, inputs: Path, tmp_path: Path, case: Case) -> None:
    """Of a store, of a broken file, of rejects over the limit, of a gate and of an encoder; nothing is published."""
    for name in ("here", "there"):  # a worker finds out, since the command itself writes elsewhere
        work = Path(place.root, name, "work")
        work.mkdir(parents=True)
        (work / "partials").write_text("not a folder")
    assert "cannot write" in check_same_failure(place, engine, 7)
    for name in ("here", "there"):
        Path(place.root, name, "work", "partials").unlink()
    broken = Path(place.root, "candidates", "part-1.parquet")
    broken.write_bytes(broken.read_bytes()[:500])
    check_same_failure(place, engine, 3)
    vectors = gaussian(20, DIM, 4)
    vectors[3:7] = 0.0
    write_vectors(tmp_path / "zero", [f"zero-{row}" for row in range(20)], vectors, 1)
    shutil.copy(tmp_path / "zero" / "part-0.parquet", broken)
    # Where none may be, this process tells at once; paths on the disks of others it leaves to them.
    check_same_failure(place, engine, 4, "--max-reject-rate", "0.01")
    shutil.copytree(inputs, place.root, dirs_exist_ok=True)
    (tmp_path / "gates.yaml").write_text("max_abs_bias: 0.0\n")
    check_same_failure(place, engine, 10, "--gates", str(tmp_path / "gates.yaml"))
    write_jsonl(Path(place.root, "candidates", "captions.jsonl"), [{"id": "a", "caption": "fail"}])
    encoder = ("--encoder", "python:fakes:FailingEncoder", "--candidate-modality", "text")
    assert "the model fails" in check_same_failure(place, engine, 3, *encoder, candidates="*.jsonl")
    case("same message and exit code of a store, a broken file, rejects over the limit, a gate and a failing encoder")


def check_same_failure(place: Place, engine: Running, code: int, *flags: str, candidates: str = "*.parquet") -> str:
    """The message, which is the same as in this process."""
    there = place.run("there", *flags, *engine[0], candidates=candidates)
    here, _ = place.here(f"failure {code} {candidates}", *flags, candidates=candidates)
    assert (there.code, here.code) == (code, code), there.error
    said = [place.without_place(line) for line in there.said]
    # What a gate says ends with the address of its report.
    assert (said[:1] if code == 10 else said) == (here.said[:1] if code == 10 else here.said)
    assert not list_versions(place.table("there"))
    return there.error


@pytest.mark.parametrize("folder", ["embedded", "partials"])
def test_a_worker_is_killed(engine: Running, place: Place, case: Case, folder: str) -> None:
    """All Python workers, once a file shows that one embeds or scores; on Spark, which tries at once, one of two."""
    flags = flags_to_other_workers(engine)
    with place.begun("there", *flags) as process:
        place.await_file("there", folder, process)
        workers = workers_of(os.getpid())
        if "--runner=SparkRunner" in flags:
            workers = workers[:1]
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        out, error = process.communicate(timeout=LONGEST)
    assert workers
    assert process.returncode == 0, error
    assert json.loads(out.splitlines()[-1])["version"] == 1
    assert place.digests("there") == place.here("first")[1]
    case(f"same bytes after SIGKILL of {len(workers)} Python workers while {WHILE[folder]}")


@pytest.mark.parametrize("folder", ["embedded", "partials"])
def test_a_machine_is_killed(engine: Running, place: Place, case: Case, folder: str) -> None:
    """A task manager, or an executor with its worker, once a file shows that something was embedded or scored."""
    flags, cluster = engine
    if not any(name.startswith(("task-manager", "worker")) for name in cluster.processes):
        pytest.skip("this engine is one process")
    with place.begun("there", *flags) as process:
        place.await_file("there", folder, process)
        executors = named(os.getpid(), "CoarseGrainedExecutorBackend")
        if executors:
            os.kill(executors[0], signal.SIGKILL)
        else:
            cluster.kill("task-manager-0")
        _, error = process.communicate(timeout=LONGEST)
    assert process.returncode == 0, error
    assert place.digests("there") == place.here("first")[1]
    what = "an executor" if executors else "a task manager"
    case(f"same bytes after SIGKILL of {what} while {WHILE[folder]}")


def test_ctrl_c_cancels_the_job(engine: Running, place: Place, case: Case) -> None:
    flags, cluster = engine
    if cluster.web is None:
        pytest.skip("this engine has no page of jobs")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # who started the tests may have it ignored
    with place.begun("there", *flags) as process:
        signal.signal(signal.SIGINT, before)
        place.await_file("there", "embedded", process)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    until = time.monotonic() + 60
    while newest_job(cluster.web)["state"] != "CANCELED":
        assert time.monotonic() < until
        time.sleep(0.5)
    assert not list_versions(place.table("there"))
    case("Ctrl-C: exit code 130, and the job is cancelled")


def test_the_engine_gives_up(engine: Running, tmp_path: Path, case: Case) -> None:
    """Every worker dies once it has been at work, which none of them ends; then this process goes on with the rest."""
    flags = flags_to_other_workers(engine)
    encoder = ("--encoder", "python:fakes:HeldEncoder", "--candidate-modality", "text")
    place = Place(str(tmp_path), ("--k", "2", *encoder))
    hold = tmp_path / "there" / "work" / "embedded" / "hold"
    hold.parent.mkdir(parents=True)
    hold.touch()
    for number in range(12):
        rows = [{"id": f"{number}-{row}", "caption": f"{hold} {'a' * (row + 1)} {number}"} for row in range(5)]
        write_jsonl(tmp_path / "candidates" / f"{number}.jsonl", rows)
    write_tar(tmp_path / "references" / "0.tar", {str(shade): {"png": picture(40 * shade, 60)} for shade in range(5)})
    with place.begun("there", *flags, candidates="*.jsonl") as process:
        place.await_file("there", "embedded", process)
        ended = threading.Event()
        reaper = threading.Thread(target=kill_all, args=(ended,))
        reaper.start()
        try:
            _, error = process.communicate(timeout=LONGEST)
        finally:
            ended.set()
            reaper.join()
    assert process.returncode == 11, error
    said = Ran(11, "", error).said
    assert len(said) == 1, error
    assert not list_versions(place.table("there"))
    hold.unlink()
    after = place.run("there", candidates="*.jsonl")
    assert after.code == 0, after.error
    embedded = [after.summary["stages"][f"embed_{side}"] for side in ("references", "candidates")]
    assert sum(stage["reused"] for stage in embedded) > 0 < embedded[1]["computed"]
    assert place.digests("there") == place.here("held", candidates="*.jsonl")[1]
    case(f"it gives up ({said[0].partition('job: ')[2][:60]}...), and this process goes on with what is there")


def kill_all(ended: threading.Event) -> None:
    """Kill each worker a second after it has got hold of its engine, which Flink waits for, three minutes at most."""
    met: set[int] = set()
    while not ended.wait(1.0):
        found = set(workers_of(os.getpid()))
        with contextlib.suppress(OSError):  # one ended meanwhile
            for worker in found & met:
                os.kill(worker, signal.SIGKILL)
            met = {worker for worker in found if is_connected(worker)}


def test_two_refreshes_of_one_table(engine: Running, place: Place, case: Case) -> None:
    """One waits in the middle of its scores until another has published: of fewer candidates, on Prism if it is had."""
    flags, cluster = engine
    other = [] if missing(*ENGINES[0].parts) else ENGINES[0].start(cluster)
    with place.begun("there", *flags) as process:
        place.await_file("there", "partials", process)
        stopped = workers_of(os.getpid()) or [process.pid]
        for worker in stopped:
            os.kill(worker, signal.SIGSTOP)
        try:
            first = place.run("there", *other, candidates="part-[01].parquet")
        finally:
            for worker in stopped:
                os.kill(worker, signal.SIGCONT)
        _, error = process.communicate(timeout=LONGEST)
    assert first.code == 0, first.error
    assert process.returncode == 8, error
    assert list_versions(place.table("there")) == [1]
    beside = "another on Prism" if other else "one in process"
    case(f"a refresh and {beside} of one table: one wins, the other says so and has exit code 8")


def test_a_store_that_workers_reach(engine: Running, place: Place, bucket: str, tmp_path: Path, case: Case) -> None:
    """Input, work and table in a bucket, with a cache on each machine."""
    root = f"{bucket}/{tmp_path.name}"
    store = Place(root, place.flags)
    fsspec.filesystem("s3").put(f"{place.root}/", f"{root}/", recursive=True)
    there = store.run("there", *engine[0], "--cache-folder", str(tmp_path / "cache"))
    check_same(store, there, place.here("first"))
    assert list((tmp_path / "cache").rglob("*"))
    case("input, work and table in a bucket, with --cache-folder: same bytes and counts")


def flags_to_other_workers(engine: Running) -> list[str]:
    """The flags that lead to an engine, if its workers are processes of their own."""
    flags, _ = engine
    if not any(flag.startswith("--environment_type") for flag in flags):
        pytest.skip("a worker of this engine is the command itself, see test_kill.py")
    return flags


def workers_of(root: int) -> list[int]:
    """Beam's Python workers among the descendants of a process: those of both programs that start one, and a pool's."""
    return [number for words in ("nnn-worker", "sdk_worker_main", "SdkHarness") for number in named(root, words)]


def named(root: int, words: str) -> list[int]:
    """Those descendants of a process whose command line has the words, but for the command that hands them on."""
    return [number for number, command in descendants(root) if words in command and "pipelines.commands" not in command]


def test_workers_of_the_boot_program(engine: Running, place: Place, case: Case) -> None:
    """Beam's own, which may install what a job brings."""
    flags, _ = engine
    if not any(flag.startswith("--environment_type=PROCESS") for flag in flags):
        pytest.skip("this engine starts no program")
    if reason := missing("container"):
        pytest.skip(reason)
    flags = [flag for flag in flags if not flag.startswith("--environment")]
    check_same(place, place.run("there", *flags, *in_processes(HOME / "container")), place.here("first"))
    case("workers of Beam's boot program: same bytes and counts")


def test_a_worker_that_cannot_start_ends_the_job(engine: Running, place: Place, case: Case) -> None:
    flags = [flag for flag in engine[0] if not flag.startswith("--environment")]
    broken = "--environment_config=" + json.dumps({"command": "/bin/false"})
    timeout = ("--worker-start-timeout", "20")
    done = place.run("there", *flags, "--environment_type=PROCESS", broken, *timeout)
    assert done.code == 11, done.error
    assert len(done.said) == 1
    assert "Traceback" not in done.error
    case(f"a worker that cannot start: {done.said[0][:100]}...")
