"""The local runner with several worker processes, and what happens when one of them is killed."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import apache_beam as beam
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.runner import PipelineResult
from apache_beam.transforms.environments import SubprocessSDKEnvironment

from nnn_core.errors import NNNError

#: The runner's thread that waits for a worker process, and what it raises where that ended in failure.
_THREAD = "run_worker"
_ENDED = re.compile(r"Worker subprocess exited with return code (-?\d+)")

#: The folder in which worker processes leave their numbers; they inherit it.
_WORKERS = "NNN_WORKERS"
_OVER = "over"


class LocalProcesses(FnApiRunner):  # type: ignore[misc]
    """Beam's local runner; its worker processes log as this program does, and it does not wait for one that is dead."""

    def __init__(self) -> None:
        # A terminal's Ctrl-C reaches every process; this program's answer to it ends the workers, without their words.
        command = f"trap '' INT; exec {shlex.quote(sys.executable)} -m pipelines.running._worker_process"
        super().__init__(SubprocessSDKEnvironment.from_command_string(command))

    def run_pipeline(self, pipeline: beam.Pipeline, options: PipelineOptions) -> PipelineResult:
        """Run it to its end.

        Raises:
            NNNError: a worker process ended before the job did.
        """
        # These are the pipeline's own options. With the mode in them the runner would set Beam's command.
        options.view_as(DirectOptions).direct_running_mode = None
        with watch_workers():
            return super().run_pipeline(pipeline, options)


@contextlib.contextmanager
def watch_workers() -> Iterator[None]:
    """End what runs inside when a worker process fails, and all workers at Ctrl-C; Beam would wait for them for ever.

    Raises:
        NNNError: one failed.
        KeyboardInterrupt: somebody pressed Ctrl-C.
    """
    before, ended, waiting = threading.excepthook, list[int](), threading.current_thread()
    interrupted = threading.Event()
    folder = Path(tempfile.mkdtemp(prefix="nnn-workers-"))
    os.environ[_WORKERS] = str(folder)

    def hook(arguments: threading.ExceptHookArgs) -> None:
        if interrupted.is_set() or ended:
            return  # threads that lose their workers
        found = _ENDED.fullmatch(str(arguments.exc_value))
        if arguments.thread is None or arguments.thread.name != _THREAD or found is None:
            before(arguments)
        else:
            ended.append(int(found[1]))
            _kill_all(folder)  # the runner waits for the others, which wait for it
            if waiting is threading.main_thread():  # which alone can be interrupted
                signal.pthread_kill(waiting.ident or 0, signal.SIGINT)

    answer = signal.getsignal(signal.SIGINT)

    def interrupt(*_: object) -> None:
        if not ended:  # else it is the hook that interrupts
            if answer is signal.SIG_IGN:
                return
            interrupted.set()
            _kill_all(folder)
        raise KeyboardInterrupt

    threading.excepthook = hook
    # A job that nohup or a shell started in the background ignores the signal, by which the hook ends the wait.
    answers = waiting is threading.main_thread() and answer in (signal.default_int_handler, signal.SIG_IGN)
    if answers:
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        if ended:
            raise NNNError(_message(ended[0])) from None
        raise
    finally:
        threading.excepthook = before
        if answers:
            signal.signal(signal.SIGINT, answer)
        del os.environ[_WORKERS]
        shutil.rmtree(folder, ignore_errors=True)


def register_worker() -> None:
    """Tell the program that this is one of its worker processes; end at once where it is over already."""
    folder = Path(os.environ[_WORKERS])
    try:
        (folder / str(os.getpid())).touch()
    except FileNotFoundError:
        sys.exit(1)
    if (folder / _OVER).exists():
        sys.exit(1)


def _kill_all(folder: Path) -> None:
    (folder / _OVER).touch()  # before the others are listed: who comes later sees it
    for name in os.listdir(folder):
        if name != _OVER:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(name), signal.SIGKILL)


def _message(code: int) -> str:
    killed = code in (-signal.SIGKILL, 128 + signal.SIGKILL)
    why = "it was killed, which the system does where memory runs out" if killed else f"exit code {code}"
    return (
        f"a worker process ended before the job did: {why}. Nothing was published; run the same command again, "
        "finished work is kept. With fewer --direct_num_workers each has more memory."
    )
