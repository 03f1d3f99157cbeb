"""Batches tried in a process of their own: its memory is limited, and where it dies of that, its death is the answer."""

from __future__ import annotations

import ctypes
import multiprocessing
import pickle
import re
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from trainables.batch_limit import Tried
from trainables.errors import ConflictError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

    from trainables.recipe import Recipe
    from trainables.run import Run
    from trainables.task import Splits, Task, Tensors

Source = Callable[[], "tuple[Task, Recipe]"]
"""Gives task and recipe in the other process, to which it travels as a pickle: a function of a module, or a part like ``Given``."""

WARM = 2
"""Samples of the step that is taken before memory is limited: libraries load what they need in the first one."""

_SIGNS = ("bad_alloc", "allocate memory", "not enough memory", "could not create a memory")
"""How libraries below torch say that there is no memory left."""

_OWN = 'what it said stands above. A script of one\'s own calls this below `if __name__ == "__main__":`'

_WAY = "define what is in them in a module, or give a function of a module that builds both"


@dataclass(frozen=True, slots=True)
class Given:
    """Task and recipe as they are; both must be able to travel as a pickle, as their functions and classes in modules can."""

    task: Task
    recipe: Recipe

    def __call__(self) -> tuple[Task, Recipe]:
        """The two."""
        return self.task, self.recipe


class Trials:
    """A process that takes steps with as many samples at once as it is asked for; one that died is started again.

    On a CPU its address space may grow by ``limit`` bytes from where it stands once libraries and data are loaded (RLIMIT_AS): that
    needs no rights, and the step that asks for too much gets an error where a control group would kill it. It counts what is
    reserved, not what is touched. On a GPU the allocator may take ``limit`` bytes of the device. None is all that is free.
    """

    def __init__(self, source: Source, *, device: str, limit: int | None, threads: int) -> None:
        self._arguments = (source, device, limit, threads)
        self._process: SpawnProcess | None = None
        self._connection: Connection[Any, Any] | None = None
        self._begun = False

    def __enter__(self) -> Self:
        """Nothing is started before something is asked."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._ended()

    def attempt(self, batch: int) -> Tried:
        """Two steps with so many samples at once: the second has the optimizer's state beside it."""
        begun = time.perf_counter()
        told = self._asked(("attempt", batch))
        if isinstance(told, Tried):
            return told
        return Tried(batch=batch, fits=False, said=str(told), seconds=time.perf_counter() - begun)

    def paced(self, batches: Sequence[int], *, rounds: int, seconds: float) -> dict[int, list[float]]:
        """Samples a second by batch in each round; empty where memory ended after all."""
        told = self._asked(("paced", tuple(batches), rounds, seconds))
        return told if isinstance(told, dict) else {}

    def _asked(self, question: tuple[Any, ...]) -> object:
        """The answer, or how the process died. Raises ConflictError for what is wrong with task or recipe."""
        try:
            connection = self._running()
            connection.send(question)
            return _answer(connection)
        except (EOFError, ConnectionError):
            begun, code = self._begun, self._ended()
            if code < 0:
                return f"its process was killed by {signal.Signals(-code).name}"
            said = f"its process ended with {code}"
            if begun:
                return said
            # Nothing to do with memory, of which processes are killed.
            raise ConflictError("batches", [f"{said} before its first step; {_OWN}"]) from None

    def _running(self) -> Connection[Any, Any]:
        """The connection to a process that has taken its first step."""
        if self._connection is None:
            context = multiprocessing.get_context("spawn")
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, *self._arguments), daemon=True)
            try:
                with _deaf():
                    process.start()
            except (pickle.PicklingError, AttributeError, TypeError) as error:
                ours.close()
                raise ConflictError(
                    "batches", [f"task and recipe cannot travel to another process: {error}; {_WAY}"]
                ) from error
            finally:
                theirs.close()
            self._process, self._connection, self._begun = process, ours, False
        if not self._begun:
            _answer(self._connection)
            self._begun = True
        return self._connection

    def _ended(self) -> int:
        """Clear away a process that has ended; its exit code, below 0 for a signal."""
        assert self._process is not None
        assert self._connection is not None
        self._process.join()
        code = self._process.exitcode or 0
        self._connection.close()
        self._process.close()
        self._process = self._connection = None
        return code


@contextmanager
def _deaf() -> Iterator[None]:
    """What is started here does not hear Ctrl-C, which a terminal sends to all: this process ends it, and it has nothing to say."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _answer(connection: Connection[Any, Any]) -> object:
    """What the process tells next. Raises ConflictError for what is wrong with task or recipe, EOFError where it has died."""
    kind, told = connection.recv()
    if kind == "conflict":
        raise ConflictError(*told)
    if kind == "failed":
        raise ConflictError("batches", [told])
    answer: object = told
    return answer


def _serve(connection: Connection[Any, Any], source: Source, device: str, limit: int | None, threads: int) -> None:
    """Answer until the other side is gone."""
    import torch

    torch.set_num_threads(threads)
    with suppress(EOFError, ConnectionError, KeyboardInterrupt):
        try:
            task, recipe = source()
            tester = _Tester(task=task, recipe=_plain(recipe), splits=task.load(recipe.seeds.split), device=device)
            tester.limited(limit)
            connection.send(("told", None))
            while True:
                kind, *asked = connection.recv()
                connection.send(("told", tester.attempt(*asked) if kind == "attempt" else tester.paced(*asked)))
        except ConflictError as error:
            connection.send(("conflict", (error.subject, error.conflicts)))
        except (EOFError, ConnectionError):
            raise
        except Exception as error:  # of the user's task or model: what it says
            connection.send(("failed", f"{type(error).__name__}: {error}"))


def _plain(recipe: Recipe) -> Recipe:
    """The recipe without what only orders and feeds samples: the batches are handed in."""
    from trainables.schedules import Constant

    return replace(
        recipe, micro_batch=None, schedule=Constant(), prefetch=None, sampling=None, curriculum=None, augment=None
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Tester:
    """What the process does."""

    task: Task
    recipe: Recipe
    splits: Splits[Any]
    device: str

    def limited(self, limit: int | None) -> None:
        """Take a small step without a limit, and set it."""
        import torch

        from trainables.heap import exact

        # Threads, too, reserve memory of their own when a first large operation starts them.
        torch.ones(2**20).tanh().sum()
        torch.ones(256, 256).mm(torch.ones(256, 256))
        with exact():
            self._step([WARM, WARM])
        if self.device != "cpu":
            if limit is not None:
                whole = torch.cuda.get_device_properties(self.device).total_memory
                torch.cuda.set_per_process_memory_fraction(min(1.0, limit / whole), _index(self.device))
            return
        _trimmed()
        base = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        most = base + (limit if limit is not None else available())
        resource.setrlimit(resource.RLIMIT_AS, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))

    def attempt(self, batch: int) -> Tried:
        """Two steps."""
        from trainables.heap import exact

        begun, said = time.perf_counter(), None
        try:
            with exact():
                self._step([batch, batch])
        except Exception as error:
            if not _no_room(error):
                raise
            said = _words(error)
        # Outside the handler: its traceback would keep the failed step's activations alive.
        _released()
        return Tried(batch=batch, fits=said is None, said=said, seconds=time.perf_counter() - begun)

    def paced(self, batches: Sequence[int], rounds: int, seconds: float) -> dict[int, list[float]]:
        """Rounds over all batches, so that what else the machine does falls on all alike; one step of each is not timed."""
        from trainables.stepping import stepped

        found: dict[int, list[float]] = {batch: [] for batch in batches}
        counts: dict[int, int] = {}

        def feeding(run: Run, _: Iterator[Tensors]) -> Iterator[Tensors]:
            for number in range(rounds + 1):
                for size in batches:
                    batch = _samples(run, size)
                    run.micro_batch = size
                    begun = _now(self.device)
                    for _step in range(counts.get(size, 1)):
                        yield batch
                    taken = max(_now(self.device) - begun, 1e-9)
                    if number:
                        found[size].append(counts[size] * size / taken)
                    else:
                        counts[size] = max(1, min(1000, round(seconds / taken)))

        try:
            stepped(self.task, self._sized(max(batches)), feeding, splits=self.splits, device=self.device)
        except Exception as error:
            if not _no_room(error):
                raise
            found = {}
        _released()
        return found

    def _step(self, sizes: Sequence[int]) -> None:
        from trainables.stepping import stepped

        def feeding(run: Run, _: Iterator[Tensors]) -> Iterator[Tensors]:
            for size in sizes:
                run.micro_batch = size
                yield _samples(run, size)

        stepped(self.task, self._sized(max(sizes)), feeding, splits=self.splits, device=self.device)

    def _sized(self, batch: int) -> Recipe:
        return replace(self.recipe, batch_size=batch)


def _samples(run: Run, size: int) -> Tensors:
    """So many training samples, the first ones again where there are fewer."""
    import torch

    from trainables.data.source import count, head, moved

    train = run.splits.train
    there = moved(head(train, min(size, count(train))), run.device, run.recipe.precision.dtype())
    rows = torch.arange(size, device=run.device) % len(there[-1])
    return tuple(tensor.index_select(0, rows) for tensor in there)


def _now(device: str) -> float:
    if device != "cpu":
        import torch

        torch.cuda.synchronize(device)
    return time.perf_counter()


def _index(device: str) -> int:
    """The number of a GPU; for some of its settings torch does not take "cuda" for the one that is current."""
    import torch

    index = torch.device(device).index
    return index if index is not None else torch.cuda.current_device()


def _no_room(error: Exception) -> bool:
    from trainables.micro_batch import out_of_memory

    return out_of_memory(error) or any(sign in str(error).lower() for sign in _SIGNS)


def _words(error: Exception) -> str:
    """What an error of memory says: how much was asked for, where that stands in it."""
    asked = re.search(r"tried to allocate ([\d.]+) ?(\w+)", str(error), re.IGNORECASE)
    if asked is None:
        return str(error).strip().partition("\n")[0][:120] or type(error).__name__
    size, unit = float(asked[1]), asked[2]
    return f"no memory for another {size / 1e6:.3g} MB" if unit == "bytes" else f"no memory for another {size:g} {unit}"


def _released() -> None:
    from trainables.micro_batch import release

    release()
    _trimmed()


def _trimmed() -> None:
    """Have the C library give back what it holds and does not use, where it is one that can."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def available() -> int:
    """Bytes that a process may still take: what the computer has free, or the control group where that is less."""
    from trainables.telemetry.process import Group

    free = next(
        1024 * int(line.split()[1]) for line in Path("/proc/meminfo").read_text().splitlines() if "MemAvailable" in line
    )
    group = Group.of()
    if group is None or group.limit is None or (held := group.held()) is None:
        return free
    return max(0, min(free, group.limit - held))
