"""A process of its own for the runs of a comparison, so that a crash, or a call that never ends, is a result too.

The process is a new Python, never a fork: JAX has threads, and a forked child of a process that has solved would hang.
It ends when its parent does, however that ended, since nobody holds the other end of its input then.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pickle
import queue
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib

_SERVE = "import sys; sys.path[:] = {path!r}; from stiffgrad.laboratory.workers import serve; serve()"
_LENGTH = struct.Struct("<Q")  # of a message, before it
_LAST_WORDS = 10.0  # seconds for a process to end after its output did


class Crashed(Exception):
    """The process died, or gave no answer in time and was ended; the text says which."""


@dataclasses.dataclass(frozen=True)
class Job:
    """A call whose result goes into a file.

    Attributes
    ----------
    label : str
        Shown while it runs.
    path : Path
        Of the result, written atomically.
    function : callable
        A function of a module, so that another process can call it; returns what JSON can hold.
    arguments : callable
        Returns its arguments, once the task's turn has come.
    crashed : callable
        crashed(reason, seconds): the result where the process died.
    seconds : float
        What the call should take at most, compilation left out.
    """

    label: str
    path: Path
    function: Callable[..., Any]
    arguments: Callable[[], tuple[Any, ...]]
    crashed: Callable[[str, float], Any]
    seconds: float


class Worker:
    """One process that runs one call at a time, and is started again after a crash.

    Functions and arguments may be lambdas, or defined in the main module: they travel by value.

    Examples
    --------
    >>> with Worker() as worker:
    ...     worker.run(divmod, 7, 3)
    (2, 1)
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._answers: queue.SimpleQueue[tuple[bool, Any] | None] = queue.SimpleQueue()
        self._killed = False
        self._lock = threading.Lock()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, where: Any) -> None:
        self.kill()

    @property
    def pid(self) -> int | None:
        """The process, once there is one."""
        return None if self._process is None else self._process.pid

    def run(self, function: Callable[..., Any], *arguments: Any, timeout_seconds: float | None = None) -> Any:
        """Call the function there and return its result; what it raises is raised here.

        Raises
        ------
        Crashed
            If its process died, or took longer than `timeout_seconds`, or this worker was killed.
        """
        request = pickle.dumps(joblib.wrap_non_picklable_objects((function, arguments), keep_wrapper=False))
        process = self._ready()
        try:
            assert process.stdin is not None
            _send(process.stdin, request)
            answer = self._answers.get(timeout=timeout_seconds)
        except OSError:  # it died while it waited
            answer = None
        except queue.Empty:
            self._end()
            raise Crashed(f"no answer within {timeout_seconds:g} s; its process was ended") from None
        if answer is None:
            raise Crashed(self._epitaph(process))
        done, result = answer
        if not done:
            raise result
        return result

    def _ready(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._killed:
                raise Crashed("the worker was stopped")
            if self._process is None:
                command = [sys.executable, "-c", _SERVE.format(path=sys.path)]
                self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
                self._answers = queue.SimpleQueue()
                threading.Thread(target=_listen, args=(self._process, self._answers), daemon=True).start()
            return self._process

    def _epitaph(self, process: subprocess.Popen[bytes]) -> str:
        if self._killed:
            return "the worker was stopped"
        try:
            code = process.wait(_LAST_WORDS)
        except subprocess.TimeoutExpired:
            code = None
        self._end()
        return f"its process died: {f'signal {-code}' if code is not None and code < 0 else f'exit code {code}'}"

    def kill(self) -> None:
        """End the process at once, for good."""
        self._killed = True
        self._end()

    def _end(self) -> None:
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    _close(pipe)


def _close(pipe: Any) -> None:
    with contextlib.suppress(OSError):  # what was not sent cannot be any more
        pipe.close()


def _send(pipe: Any, message: bytes) -> None:
    pipe.write(_LENGTH.pack(len(message)) + message)
    pipe.flush()


def _receive(pipe: Any) -> bytes:
    """The next message. Raises EOFError where the other side has gone."""
    head = pipe.read(_LENGTH.size)
    message = pipe.read(_LENGTH.unpack(head)[0]) if len(head) == _LENGTH.size else b""
    if len(head) < _LENGTH.size or len(message) < _LENGTH.unpack(head)[0]:
        raise EOFError
    return message


def _listen(process: subprocess.Popen[bytes], answers: queue.SimpleQueue[tuple[bool, Any] | None]) -> None:
    """Pass on the answers of a process that we started ourselves; None at its end."""
    try:
        while True:
            answers.put(pickle.loads(_receive(process.stdout)))
    except (EOFError, OSError, ValueError):  # its end, or ours
        answers.put(None)


def serve() -> None:
    """The other side: answer calls until there are no more, or the parent is gone."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a call prints is no answer
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_await, args=(requests,), daemon=True).start()
    while True:
        request = requests.get()
        try:
            function, arguments = pickle.loads(request)
            answer = True, function(*arguments)
        except BaseException as error:  # Ctrl-C too: it is for the parent to hear of
            answer = False, error
        _send(answers, _packed(answer))


def _packed(answer: tuple[bool, Any]) -> bytes:
    try:
        return pickle.dumps(joblib.wrap_non_picklable_objects(answer, keep_wrapper=False))
    except Exception as error:
        words = answer[1] if isinstance(answer[1], BaseException) else error
        return pickle.dumps((False, RuntimeError(f"{type(words).__name__}: {words}")))


def _await(requests: queue.SimpleQueue[bytes]) -> None:
    """Pass on requests; where the input ends the parent has gone, and so do we, whatever is running."""
    try:
        while True:
            requests.put(_receive(sys.stdin.buffer))
    finally:
        os._exit(1)
