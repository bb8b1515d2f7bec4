"""A function of hostile bytes, run in processes of its own under limits of memory and time.

A worker is a fresh interpreter, never a fork of a process with threads and a GPU. It trusts what
it is sent, so that may be pickled; what it answers was made from hostile bytes and is plain bytes.
"""

from __future__ import annotations

import errno
import os
import pickle
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import BinaryIO

from fakescan.records import FakescanError, Status

Reserve = Callable[[int], None]
"""Called with a number of bytes before they are taken; it may wait."""

_HEADER = struct.Struct("!cQ")
_READY, _CALL, _RESERVE, _ANSWER = b"S", b"C", b"R", b"A"
_NUMBER = struct.Struct("!Q")

# Not -m, which looks for modules in the current folder: that may be the one which is scanned.
_COMMAND = "import sys; sys.path[:] = sys.argv[1:]; from fakescan.isolation import serve; serve()"

LONGEST_ANSWER = 1 << 30
"""More than 64 windows of the largest models take, and all evidence; what asks for more is mad."""

LONGEST_SECONDS = 1e9
"""For one call, some thirty years; timers hold no more than ten times as much."""

_DEATH_SECONDS = 5.0
"""How long a process may take to end once its pipes are closed."""


class IsolatedFunction:
    """`function(data, *arguments, reserve=...)`, from bytes to bytes, in worker processes.

    Any thread may call it; there are as many workers as there were calls at once. A call may take
    `seconds`, without what it waits for `reserve`, and a worker `memory` bytes of addresses above
    what it starts with, where the system has /proc; numbers beyond the system's are no limit. A
    worker that crashes, or that a limit ends, is replaced by the next call. Workers end with the
    process that started them, however it ends.

    `function` and `load` must be importable by name. A worker calls `load` first, outside the
    limits, to import what `function` needs. Raises FakescanError when workers can't start.
    """

    def __init__(
        self,
        function: Callable[..., bytes],
        *,
        seconds: float,
        memory: int,
        load: Callable[[], None],
    ) -> None:
        self._setup = pickle.dumps((load, function, min(seconds, LONGEST_SECONDS), memory))
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._busy: set[_Worker] = set()
        self._is_closed = False
        self._release(self._take())  # what can't start is said before anything is read

    def __call__(self, data: bytes, *arguments: object, reserve: Reserve) -> bytes | Status:
        """The function's answer, or how the worker ended."""
        worker = self._take()
        try:
            return worker.call(data, pickle.dumps(arguments), reserve)
        finally:
            self._release(worker)

    def close(self) -> None:
        """End every worker, so that calls under way return."""
        with self._lock:
            self._is_closed = True
            for worker in self._busy:
                worker.kill()
            while self._idle:
                self._idle.pop().end()

    def _take(self) -> _Worker:
        with self._lock:
            worker = self._idle.pop() if self._idle else _Worker()
            self._busy.add(worker)
            if self._is_closed:
                worker.kill()
        if not (worker.is_ready or worker.begin(self._setup) or self._is_closed):
            self._release(worker)
            raise FakescanError("--isolate: a worker process doesn't start here.")
        return worker

    def _release(self, worker: _Worker) -> None:
        with self._lock:
            self._busy.discard(worker)
            if worker.is_ready and not self._is_closed:
                self._idle.append(worker)
                return
        worker.end()


class _Worker:
    """One process, seen from the calling end of its pipes."""

    def __init__(self) -> None:
        self.is_ready = False
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", _COMMAND, *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # Ctrl-C at a terminal is for the scan, which ends its workers itself.
            process_group=0,
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._input: BinaryIO = self._process.stdin  # type: ignore[assignment]
        self._output: BinaryIO = self._process.stdout  # type: ignore[assignment]

    def begin(self, setup: bytes) -> bool:
        """Wait until it has loaded; whether it could."""
        with suppress(OSError, EOFError):
            _write(self._input, _CALL, setup)
            self.is_ready = _read(self._output)[0] == _READY
        return self.is_ready

    def call(self, data: bytes, arguments: bytes, reserve: Reserve) -> bytes | Status:
        """The answer to one call, or the status that tells how the worker ended instead."""
        try:
            _write(self._input, _CALL, arguments)
            _write(self._input, _CALL, data)
            while True:
                kind, body = _read(self._output, limit=LONGEST_ANSWER)
                if kind == _ANSWER:
                    return body
                reserve(*_NUMBER.unpack(body))
                _write(self._input, _RESERVE, b"")
        except (OSError, EOFError):
            self.is_ready = False
            return _STATUSES.get(self._wait(), Status.DECODER_CRASHED)
        except (ValueError, struct.error):  # nothing that `serve` says
            self.is_ready = False
            return Status.DECODER_CRASHED

    def kill(self) -> None:
        """Have it end. Whoever calls it meanwhile learns of it."""
        self._process.kill()

    def end(self) -> None:
        """Have it end, and let go of it."""
        self.kill()
        self._wait()
        for pipe in (self._input, self._output):
            with suppress(OSError):  # nobody reads what may still be buffered
                pipe.close()

    def _wait(self) -> int:
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(_DEATH_SECONDS)
        self.kill()
        self._process.wait()
        return 0


# How a worker ended: its own timer, its own MemoryError, or the kernel's killer, which takes
# whoever holds most when memory runs out.
_STATUSES = {
    -signal.SIGALRM: Status.TIMED_OUT,
    errno.ENOMEM: Status.OUT_OF_MEMORY,
    -signal.SIGKILL: Status.OUT_OF_MEMORY,
}


def _write(pipe: BinaryIO, kind: bytes, body: bytes) -> None:
    pipe.write(_HEADER.pack(kind, len(body)))
    pipe.write(body)
    pipe.flush()


def _read(pipe: BinaryIO, *, limit: int | None = None) -> tuple[bytes, bytes]:
    kind, length = _HEADER.unpack(_read_exactly(pipe, _HEADER.size))
    if limit is not None and length > limit:
        raise ValueError
    return kind, _read_exactly(pipe, length)


def _read_exactly(pipe: BinaryIO, length: int) -> bytes:
    data = pipe.read(length)
    if len(data) < length:
        raise EOFError
    return data


def serve() -> None:
    """A worker's whole life: load, then answer calls until there are no more."""
    calls, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    # What a library prints must not end up among the answers.
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    # The kernel ends a call that takes too long, also within native code that never returns, and
    # also when the scan itself has been killed.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)

    def reserve(amount: int) -> None:
        left, _ = signal.setitimer(signal.ITIMER_REAL, 0)
        _write(answers, _RESERVE, _NUMBER.pack(amount))
        _read(calls)
        signal.setitimer(signal.ITIMER_REAL, left)

    code = 1  # a bug's traceback would go nowhere, and take time
    try:
        load, function, seconds, memory = pickle.loads(_read(calls)[1])
        load()
        _limit_memory(memory)
        _write(answers, _READY, b"")
        while True:
            arguments, data = pickle.loads(_read(calls)[1]), _read(calls)[1]
            signal.setitimer(signal.ITIMER_REAL, seconds)
            answer = function(data, *arguments, reserve=reserve)
            signal.setitimer(signal.ITIMER_REAL, 0)
            _write(answers, _ANSWER, answer)
            del arguments, data, answer  # or the next file's come on top of them
    except MemoryError:
        code = errno.ENOMEM
    except (EOFError, BrokenPipeError):  # the scan is over
        code = 0
    finally:
        os._exit(code)


def _limit_memory(memory: int) -> None:
    import resource

    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            present = int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return  # macOS counts hundreds of gigabytes that nobody uses, and enforces nothing
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    limit = min(present + memory, sys.maxsize if most == resource.RLIM_INFINITY else most)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
