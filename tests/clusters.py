"""Engines on this machine, on loopback with free ports, each for as long as it is needed; ended by process id."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from runner_parts import HOME, ROOT

from nnn_core.planning.costs import NETWORK_BYTES
from pipelines.running.known_runners import OPENED

#: A worker is started as "python", and finds this package.
ENVIRONMENT = {
    **os.environ,
    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}",
}

#: Of the job server that a command starts, which would take a quarter of the machine's memory.
_SMALL = "--job_server_jvm_properties=-Xmx512m"

_JAVA = ("java", "-XX:TieredStopAtLevel=1", *(f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in OPENED))

#: What workers are told of the environment. The rest, such as what a store asks for, they have of the engine's process.
_HANDED = ("PATH", "PYTHONPATH")

#: Flink's own memory, in megabytes, small: a task manager that is started by hand wants every part of it. The memory of
#: the network is that of ``nnn plan`` for each slot.
_MEMORY = {
    "framework.heap.size": 128,
    "task.heap.size": 256,
    "framework.off-heap.size": 128,
    "task.off-heap.size": 64,
    "managed.size": 64,
    "jvm-metaspace.size": 256,
    "jvm-overhead.min": 64,
    "jvm-overhead.max": 64,
}


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def await_port(port: int, server: subprocess.Popen[bytes], log: Path, seconds: float = 120.0) -> None:
    """Wait until a server listens."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert server.poll() is None, log.read_text()
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise AssertionError(f"nothing listens on {port}: {log.read_text()}")


def await_slots(web: str, slots: int, seconds: float = 120.0) -> None:
    """Wait until all task managers of a Flink cluster have joined it."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        # While the job manager starts it answers that it cannot.
        with suppress(OSError), urllib.request.urlopen(f"{web}/overview") as answer:
            if json.load(answer)["slots-total"] >= slots:
                return
        time.sleep(0.2)
    raise AssertionError(f"{web} has fewer than {slots} slots")


def descendants(root: int) -> Iterator[tuple[int, str]]:
    """(process id, command line) of every process that descends from one."""
    waiting = [root]
    while waiting:
        children: list[str] = []
        with suppress(OSError):  # it ended meanwhile
            tasks = Path(f"/proc/{waiting.pop()}/task").glob("*/children")
            children = " ".join(each.read_text() for each in tasks).split()
        for child in map(int, children):
            waiting.append(child)
            try:
                command = Path(f"/proc/{child}/cmdline").read_text(errors="replace")
            except OSError:
                continue
            yield child, command


@dataclass
class Cluster:
    """The processes of an engine.

    Attributes:
        folder: where their logs go.
        processes: those that run, by name.
        web: address of Flink's pages, if it is Flink.
    """

    folder: Path
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    web: str | None = None
    _open: ExitStack = field(default_factory=ExitStack)
    _started: dict[str, tuple[list[str], dict[str, str]]] = field(default_factory=dict)

    def start(self, name: str, command: list[str], port: int | None = None, **environment: str) -> None:
        """Start a process, and wait until it listens on its port."""
        log = self.folder / f"{name}.log"
        stream = self._open.enter_context(log.open("ab"))
        self._started[name] = command, environment
        settings = {**ENVIRONMENT, **environment}
        process = subprocess.Popen(command, env=settings, stdout=stream, stderr=stream, cwd=self.folder)
        self.processes[name] = process
        self._open.callback(self._end, process)
        if port:
            await_port(port, process, log)

    def kill(self, name: str) -> None:
        """SIGKILL, as when a machine goes, and another in its place, as an operator of clusters sees to."""
        self.processes[name].kill()
        self.processes[name].wait()
        command, environment = self._started[name]
        self.start(name, command, **environment)

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def close(self) -> None:
        """End all of them."""
        self._open.close()


@dataclass(frozen=True)
class Engine:
    """An engine that can run here.

    Attributes:
        name: what it is called in the table of runners.
        parts: what it is made of, see ``runner_parts``.
        start: starts its processes, if it has any before a job comes, and gives the flags of ``nnn refresh``.
    """

    name: str
    parts: tuple[str, ...]
    start: Callable[[Cluster], list[str]]

    @contextmanager
    def running(self, folder: Path) -> Iterator[tuple[list[str], Cluster]]:
        """The engine's flags and processes, while they run."""
        folder.mkdir(parents=True, exist_ok=True)
        cluster = Cluster(folder)
        try:
            yield self.start(cluster), cluster
        finally:
            cluster.close()


def _prism(cluster: Cluster) -> list[str]:
    return ["--runner=PrismRunner", f"--prism_location={HOME / 'prism'}"]


def _flink_local(cluster: Cluster) -> list[str]:
    jar = f"--flink_job_server_jar={HOME / 'flink-job-server.jar'}"
    return ["--runner=FlinkRunner", "--flink_master=[local]", jar, _SMALL]


def _spark_local(cluster: Cluster) -> list[str]:
    jar = f"--spark_job_server_jar={HOME / 'spark-job-server.jar'}"
    return ["--runner=SparkRunner", "--spark_master_url=local[2]", jar, _SMALL]


def in_processes(command: Path) -> list[str]:
    """Workers that a program starts beside the engine's process that asks for them."""
    environment = {name: ENVIRONMENT[name] for name in _HANDED}
    # The python on the PATH is complete: the boot program is not to make another one.
    environment["RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT"] = "1"
    settings = {"command": str(command), "env": environment}
    return ["--environment_type=PROCESS", f"--environment_config={json.dumps(settings)}"]


def _with_nnn_worker(cluster: Cluster) -> list[str]:
    """Workers that are started as ``nnn-worker`` is, without its being installed."""
    program = cluster.folder / "nnn-worker"
    program.write_text(f"#!{sys.executable}\nfrom pipelines.running.worker import main\n\nraise SystemExit(main())\n")
    program.chmod(0o755)
    return in_processes(program)


def _flink_cluster(cluster: Cluster) -> list[str]:
    """A job manager and two task managers of one slot, each of which starts workers."""
    return [*_start_flink(cluster, managers=2, slots=1), *_with_nnn_worker(cluster)]


def _flink_with_pool(cluster: Cluster) -> list[str]:
    """A job manager and a task manager of two slots with a pool of workers beside it, as in a pod of Kubernetes."""
    port = free_port()
    pool = [sys.executable, "-m", "apache_beam.runners.worker.worker_pool_main", f"--service_port={port}"]
    cluster.start("pool", pool, port)
    flags = _start_flink(cluster, managers=1, slots=2)
    return [*flags, "--environment_type=EXTERNAL", f"--environment_config=127.0.0.1:{port}"]


def _start_flink(cluster: Cluster, managers: int, slots: int) -> list[str]:
    """A job manager and task managers, which try a task again; the flags that lead to them."""
    web = free_port()
    (cluster.folder / "config.yaml").write_text("{}\n")
    settings = {
        "jobmanager.rpc.address": "127.0.0.1",
        "jobmanager.rpc.port": free_port(),
        "rest.address": "127.0.0.1",
        "rest.port": web,
        "cluster.evenly-spread-out-slots": "true",
        # A job cannot ask for it: what Beam is told of attempts reaches streams only.
        "restart-strategy.type": "fixed-delay",
        "restart-strategy.fixed-delay.attempts": 3,
        # Longer than a worker that died is kept.
        "restart-strategy.fixed-delay.delay": "10 s",
        # Beam's classes are the cluster's, not those of each job, whose workers would end with every stage.
        "classloader.resolve-order": "parent-first",
        # The default takes ten times as long to notice that a machine went.
        "heartbeat.interval": 1000,
        "heartbeat.timeout": 5000,
        "taskmanager.host": "127.0.0.1",
        "taskmanager.cpu.cores": 1.0,
        "taskmanager.numberOfTaskSlots": slots,
        **{f"taskmanager.memory.{name}": f"{size}m" for name, size in _MEMORY.items()},
        **{f"taskmanager.memory.network.{name}": slots * NETWORK_BYTES for name in ("min", "max")},
    }
    given = [part for name, value in settings.items() for part in ("-D", f"{name}={value}")]
    # Network buffers are direct memory, which Java bounds by its heap unless told otherwise.
    server = HOME / "flink-job-server.jar"
    java = [*_JAVA, "-Xmx512m", "-XX:MaxDirectMemorySize=1g", "-cp", f"{HOME / 'flink'}/*:{server}"]
    runtime, place = "org.apache.flink.runtime", ["--configDir", str(cluster.folder), *given]
    cluster.start("job-manager", [*java, f"{runtime}.entrypoint.StandaloneSessionClusterEntrypoint", *place], web)
    for number in range(managers):
        cluster.start(f"task-manager-{number}", [*java, f"{runtime}.taskexecutor.TaskManagerRunner", *place])
    await_slots(f"http://127.0.0.1:{web}", managers * slots)
    jar = f"--flink_job_server_jar={server}"
    cluster.web = f"http://127.0.0.1:{web}"
    return ["--runner=FlinkRunner", f"--flink_master=127.0.0.1:{web}", jar, _SMALL]


def _spark_cluster(cluster: Cluster) -> list[str]:
    """A master and two workers of one core."""
    port, home = free_port(), cluster.folder / "spark"
    (home / "jars").mkdir(parents=True)
    jar = HOME / "spark-job-server.jar"
    (home / "jars" / jar.name).symlink_to(jar)
    deploy = "org.apache.spark.deploy"
    settings = {"SPARK_HOME": str(home), "SPARK_SCALA_VERSION": "2.12", "SPARK_LOCAL_IP": "127.0.0.1"}
    java = [*_JAVA, "-Xmx256m", "-cp", str(jar)]
    where = ["--host", "127.0.0.1", "--port", str(port), "--webui-port", str(free_port())]
    cluster.start("master", [*java, f"{deploy}.master.Master", *where], port, **settings)
    master = f"spark://127.0.0.1:{port}"
    for number in (1, 2):
        worker = ["--cores", "1", "--memory", "768m", "--webui-port", str(free_port()), "--host", "127.0.0.1", master]
        cluster.start(f"worker-{number}", [*java, f"{deploy}.worker.Worker", *worker], **settings)
    # An executor asks for 1 GiB unless told otherwise, and waits for ever where no worker has as much.
    executor = ("spark.executor.memory=512m", "spark.driver.host=127.0.0.1")
    server = [f"--spark_job_server_jar={jar}", _SMALL, *(f"--job_server_jvm_properties=-D{each}" for each in executor)]
    return ["--runner=SparkRunner", f"--spark_master_url={master}", *server, *_with_nnn_worker(cluster)]


ENGINES = [
    Engine("Prism", ("prism",), _prism),
    Engine("Flink local", ("java", "flink-job-server.jar"), _flink_local),
    Engine("Flink cluster", ("java", "flink-job-server.jar", "flink"), _flink_cluster),
    Engine("Flink with a pool", ("java", "flink-job-server.jar", "flink"), _flink_with_pool),
    Engine("Spark local", ("java", "spark-job-server.jar"), _spark_local),
    Engine("Spark cluster", ("java", "spark-job-server.jar"), _spark_cluster),
]
