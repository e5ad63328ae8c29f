"""What went wrong in a job that ran elsewhere: the error of ours, or an engine's own in one sentence."""

from __future__ import annotations

import re

from grpc import FutureTimeoutError, RpcError

from nnn_core.errors import ERRORS, NNNError, RunnerError

_RAISED = re.compile(r"(?ms)^nnn_core\.errors\.(\w+): (.*?)(?=^(?:Traceback|During handling|The above exception)|\Z)")
#: Of a Ctrl-C that reaches a step, Beam makes an error like any other.
_INTERRUPTED = re.compile(r"^(RuntimeError: )?([\w.]+\.)?(KeyboardInterrupt|Signalled)( \[while running|$)", re.M)
_WHILE_RUNNING = re.compile(r"\s*\[while running '[^']*'\]\s*\Z")

#: Lines of Java that say where: the stack, and how many lines of it were left out.
_STACK = re.compile(r"(?m)^\s+(?:at |\.\.\. \d+ more).*\n?")
#: What engines add below the error of a worker: causes of their own, and what Spark says of executors it avoids.
_AFTERWORDS = re.compile(r"(?ms)^(?:Caused by: |Driver stacktrace:|ExcludeOnFailure behavior ).*")
_CAUSE = re.compile(r"(?m)^Caused by: (.+)$")
#: What Beam and gRPC write before the words of the engine.
_PREFACE = re.compile(r"Pipeline \S+ failed in state \w+: ")
#: The package of a class of Java, and the class where a message follows that says more.
_CLASS = re.compile(r"^(?:[a-z]\w*\.)+(?:\w+(?:Exception|Error|Throwable): (?=\S))?")
#: What Beam's harness in Java says of a worker that does not answer.
_WAITED = re.compile(r"^Waited (\d+ \w+) \(plus .*Future.*")
_LONGEST = 300

#: What helps, by words of the failure; the first that is found counts.
_HINTS = {
    r"Insufficient number of network buffers": (
        "Raise taskmanager.memory.network.min and .max of Flink's configuration, or lower --parallelism."
    ),
    r"NoResourceAvailable|Could not acquire the minimum required resources|Slot request": (
        "The cluster has too few free slots: wait for other jobs, add task managers, or lower --parallelism."
    ),
    r"OutOfMemoryError|exit code 137|Metaspace|MemoryError": (
        "Give that process more memory, or run fewer workers on a machine."
    ),
    r"client cancelled|Multiplexer hanging up|ExecutorLostFailure|Lost task manager|TaskManager with id|Future@": (
        "A worker or its machine stopped during the job: it ran out of memory or was killed. Run the command "
        "again. To let the engine retry, set a restart strategy (Flink) or more retries."
    ),
    r"Process died with exit code|No module named|No such file or directory.*(boot|python)|Cannot run program": (
        "The worker's environment is incomplete. Check --environment_type and --environment_config: its python "
        "needs this package and apache_beam."
    ),
    r"docker": (
        "Without --environment_type an engine starts workers by docker; give EXTERNAL with the address of a worker "
        "pool, or PROCESS with nnn-worker."
    ),
    r"Service failed to start up|Unable to fetch remote|No such file or directory: 'java'|urlopen error": (
        "The job server could not be started. Name its file with --flink_job_server_jar, "
        "--spark_job_server_jar or --prism_location, and put java on the PATH. Or start it yourself and name "
        "it with --job_endpoint."
    ),
    r"InvalidClassException|UnsupportedClassVersion|NoSuchMethodError|Unknown Coder|UNIMPLEMENTED|not supported": (
        "The versions of job server, cluster and this program must fit. deploy/README.md lists tested versions."
    ),
    r"UNAVAILABLE|Connection refused|failed to connect|Could not connect|job service does not answer": (
        "Check that the job server runs, that --job_endpoint is its address, and that it can reach the cluster."
    ),
}


def is_interrupt(error: Exception) -> bool:
    """Whether Beam made this error of somebody's Ctrl-C."""
    return bool(_INTERRUPTED.search(str(error)))


def without_place(message: str) -> str:
    """A message without the step that Beam names at its end."""
    return _WHILE_RUNNING.sub("", message.strip())


def find_error(text: str) -> NNNError | None:
    """The error of ours in a worker's traceback, which is all that a runner hands back.

    A traceback names causes first; the last error is the one that was raised.
    """
    # Engines put their own stack below that of the worker.
    matches = _RAISED.findall(_STACK.sub("", text))
    if not matches:
        return None
    name, message = matches[-1]
    return ERRORS.get(name, NNNError)(without_place(_AFTERWORDS.sub("", message)))


def explain(error: Exception) -> Exception:
    """An error of a job that ran elsewhere as the user is to see it.

    Returns:
        The error of ours that a worker raised; a ``RuntimeError`` with the traceback of a worker that raised another
        one, which is a defect; or a ``RunnerError`` with the engine's last cause, and what helps if that is known.
    """
    text = _text_of(error)
    if raised := find_error(text):
        return raised
    if (start := text.find("Traceback (most recent call last)")) >= 0:
        return RuntimeError(_AFTERWORDS.sub("", _STACK.sub("", text[start:])).strip())
    hint = next((hint for words, hint in _HINTS.items() if re.search(words, text, re.I)), "")
    return RunnerError(
        f"the engine could not run the job: {last_cause(text)} Nothing was published, and finished work is kept. "
        f"{hint or 'The log of the engine says more, as does --verbose.'}"
    )


def last_cause(text: str) -> str:
    """The innermost cause that an engine names, in one sentence."""
    causes = _CAUSE.findall(text)
    lines = [line.strip() for line in _STACK.sub("", _PREFACE.sub("", text)).splitlines() if line.strip()]
    cause = (causes[-1] if causes else (lines or ["it gave no reason"])[0]).strip()
    if cause.endswith(":") and cause in lines:  # Spark says on the next lines what it announces
        for line in lines[lines.index(cause) + 1 :]:
            cause = f"{cause} {line}"
            if cause.endswith("."):
                break
    cause = _WAITED.sub(r"a worker did not answer for \1", _CLASS.sub("", cause))
    cause = cause if len(cause) <= _LONGEST else f"{cause[:_LONGEST]}..."
    return cause if cause.endswith((".", "!")) else f"{cause}."


def _text_of(error: Exception) -> str:
    if isinstance(error, FutureTimeoutError):
        return "the job service does not answer"
    if isinstance(error, RpcError) and callable(getattr(error, "details", None)):
        return f"{error.details()} ({error.code().name})"
    return str(error)
