"""Worker processes: where `run` and `merge` happen, and what planning shares out.

Rules:

- POL-1  A worker ends when the coordinator ends, however it ended.
- POL-2  Numeric stages run in a process of their own whose threads and instruction set are fixed
         before the first import of a numeric library.
- POL-3  What a worker raises is one of our errors, without identifiers: an unexpected error of
         `ingest`, which sees identities, is told by its type and place alone.
"""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import shutil
import signal
import sys
import threading
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any, TypeVar

from audit.errors import Fault, KetteError, Transient
from stages.artifact import Digest
from stages.params import Numerics
from stages.parent import end_with_parent
from stages.stage import Json, MergeContext, RunContext, Stage, Unit
from stages.store import DISK_ERRORS, Entry, Store, disk_fault

Say = Callable[[str, float], None]
T = TypeVar("T")
R = TypeVar("R")
_AHEAD = 4
"""Inputs for each worker that are under way while planning: results are small, but not few."""

SEES_IDENTITIES = frozenset({"ingest"})


def load_stage(name: str) -> Stage[Any]:
    """The stage of that name: `STAGE` in `stages/<name>/stage.py`."""
    stage: Stage[Any] = importlib.import_module(f"stages.{name}.stage").STAGE
    return stage


@dataclass(frozen=True)
class Job:
    """One call of `run` or `merge`, as it goes down the pipe to a worker."""

    stage: str
    unit: Unit
    """For a merge, the unit without name."""
    key: Digest
    parts: Json
    parameters: Any
    trees: Mapping[str, Digest]
    """Label → digest of the trees it reads."""
    units: Mapping[str, Digest] | None
    """For a merge: unit name → digest of its tree."""
    notes: Json
    store: Path
    loader_workers: int = 0


def numeric_environment(numerics: Numerics) -> dict[str, str]:
    """Variables that fix threads and instruction set of every numeric library (POL-2)."""
    threads = str(numerics.threads)
    values = {
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "NUMEXPR_NUM_THREADS": threads,
        "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": threads,
        "OMP_DYNAMIC": "FALSE",
        "OMP_WAIT_POLICY": "PASSIVE",  # decides no bits; spinning starves other processes
        "MKL_DYNAMIC": "FALSE",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    }
    if numerics.instruction_set == "avx2":
        values |= {
            "ATEN_CPU_CAPABILITY": "avx2",
            "ONEDNN_MAX_CPU_ISA": "AVX2",
            "DNNL_MAX_CPU_ISA": "AVX2",
            "MKL_ENABLE_INSTRUCTIONS": "AVX2",
            "MKL_CBWR": "AVX2",
            "OPENBLAS_CORETYPE": "Haswell",
            "NPY_DISABLE_CPU_FEATURES": _beyond_avx2(),
        }
    return values


def _beyond_avx2() -> str:
    """The features beyond AVX2 that this processor has, by NumPy's names.

    NumPy warns about a name that the processor lacks, so only those that it has are named.
    """
    path = Path("/proc/cpuinfo")
    flags = path.read_text("utf-8", "replace").split() if path.is_file() else []
    return " ".join(name for flag, name in _BEYOND.items() if flag in flags)


_BEYOND = {"avx512vl": "X86_V4", "avx512_vbmi2": "AVX512_ICL", "avx512_fp16": "AVX512_SPR"}
"""Flag of `/proc/cpuinfo` → NumPy's name of the group of instructions that it stands for."""


def _numeric_facts() -> dict[str, str]:
    """What decides the last bit in this process, as the libraries themselves say or were told."""
    import torch

    return {
        "instruction set (PyTorch)": torch.backends.cpu.get_cpu_capability(),
        "instruction set (oneDNN)": os.environ.get("ONEDNN_MAX_CPU_ISA", "all"),
        "threads": str(torch.get_num_threads()),
    }


class Workers:
    """Processes for units; made when first needed, ended by `close`."""

    def __init__(self, count: int, numerics: Numerics | None, say: Say) -> None:
        self.broken = False
        """A worker died; these workers take no more jobs."""
        self._closed = False
        self._ahead = _AHEAD * (1 if numerics else count)
        self._context = multiprocessing.get_context("spawn")
        self._queue: Queue[tuple[str, float] | None] = self._context.Queue()
        self._drain = threading.Thread(target=self._listen, args=(say,), daemon=True)
        self._drain.start()
        self._pool = ProcessPoolExecutor(
            1 if numerics else count,
            mp_context=self._context,
            initializer=_begin,
            initargs=(numeric_environment(numerics) if numerics else {}, self._queue),
        )

    def _listen(self, say: Say) -> None:
        while (message := self._queue.get()) is not None:
            with contextlib.suppress(Exception):  # a closed terminal must not stop the work
                say(*message)

    def do(self, job: Job) -> Entry:
        """Run a job and wait for it.

        Raises:
            KetteError: what the stage raised, or that the worker died.
        """
        try:
            return self._pool.submit(work, job).result()
        except BrokenExecutor:
            raise self._died(job.stage, job.unit.name or "merge") from None

    def spread(self, stage: str, do: Callable[[T], R], inputs: Iterable[T]) -> Iterator[R]:
        """Apply a function of a module to each input, for planning; results in their order.

        Args:
            stage: that is planned.
            do: it, the inputs and the results go through pipes.
            inputs: taken only as fast as results are.

        Raises:
            KetteError: what the function raised (POL-3), or that a worker died.
        """
        under_way: deque[Future[R]] = deque()
        try:
            for one in inputs:
                under_way.append(self._pool.submit(_told, stage, "plan", do, one))
                if len(under_way) > self._ahead:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        except BrokenExecutor:
            raise self._died(stage, "plan") from None
        finally:
            for left in under_way:
                left.cancel()

    def _died(self, stage: str, unit: str) -> Transient:
        self.broken = True
        return Transient(
            f"The worker of {stage}/{unit} died.",
            "It may have run out of memory: set KETTE_WORKERS lower, then run again.",
        )

    def close(self, *, now: bool = False) -> None:
        """End the workers after the jobs under way, or `now`; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        if now:
            # The pool's own way to this comes with Python 3.14 (`terminate_workers`).
            for process in list((self._pool._processes or {}).values()):  # noqa: SLF001
                process.terminate()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._queue.cancel_join_thread()
        self._queue.put(None)
        self._drain.join(5)
        self._queue.close()


_PROGRESS: Queue[tuple[str, float] | None] | None = None


def _begin(variables: Mapping[str, str], progress: Queue[tuple[str, float] | None]) -> None:
    """Prepare a worker: environment before any numeric import, watch the coordinator (POL-1)."""
    global _PROGRESS  # noqa: PLW0603 - the pool's initializer has no other way to hand it on
    os.environ.update(variables)
    os.dup2(2, 1)  # stdout belongs to the verb's result; a library that prints, prints to stderr
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the coordinator ends its workers
    progress.cancel_join_thread()
    _PROGRESS = progress
    end_with_parent()


def work(job: Job) -> Entry:
    """Do one job in this process: fresh folder, stage function, store, entry."""
    return _told(job.stage, job.unit.name or "merge", _work, job)


def _told(stage: str, unit: str, do: Callable[[T], R], one: T) -> R:
    """What a function makes of its input; its errors told as ours (POL-3)."""
    try:
        return do(one)
    except KetteError as error:
        raise error from None
    except OSError as error:
        if error.errno in DISK_ERRORS:
            raise disk_fault(error) from None
        raise unexpected(stage, unit, error) from None
    except MemoryError:
        raise Fault(
            f"{stage}/{unit} ran out of memory.",
            "Set KETTE_WORKERS lower or the patch smaller, then run again.",
        ) from None
    except Exception as error:  # noqa: BLE001 - the last line before the pipe: told without values
        raise unexpected(stage, unit, error) from None


def unexpected(stage: str, unit: str, error: Exception) -> Fault:
    """An error that nobody raised on purpose, told without identifiers (POL-3)."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(frame.filename).name}:{frame.lineno}"
    text = "" if stage in SEES_IDENTITIES else f": {error}"
    return Fault(
        f"{stage}/{unit} failed with {type(error).__name__} at {place}{text}.",
        "This is a defect of the program or its environment: report it with this line.",
    )


def _say(text: str, fraction: float) -> None:
    if _PROGRESS is not None:
        _PROGRESS.put((text, fraction))


def _work(job: Job) -> Entry:
    store = Store(job.store)
    stage = load_stage(job.stage)
    project = str(job.store.parent.parent)
    if project not in sys.path:
        sys.path.append(project)  # a class that the parameters name may be the project's own
    trees = {label: store.get(digest, check=True) for label, digest in job.trees.items()}
    out = store.scratch()
    try:
        return _into(out, job, stage, trees, store)
    finally:
        shutil.rmtree(out, ignore_errors=True)


def _into(out: Path, job: Job, stage: Stage[Any], trees: dict[str, Path], store: Store) -> Entry:
    started = datetime.now(UTC)
    with warnings.catch_warnings():
        if job.stage in SEES_IDENTITIES:
            warnings.simplefilter("ignore")  # libraries' warnings quote values
        if job.units is None:
            beside = job.store.parent
            context = RunContext(
                job.parameters,
                trees,
                out,
                _say,
                job.loader_workers,
                scratch=beside / "scratch" / job.key,
                cache=beside / "cache",
                logs=beside / "logs" / job.stage / job.key[:12],
            )
            outcome = stage.run(job.unit, context)
        else:
            units = {
                name: store.get(digest, check=True) for name, digest in sorted(job.units.items())
            }
            outcome = stage.merge(MergeContext(job.parameters, units, trees, job.notes, out))
    entry = Entry(
        stage=job.stage,
        unit=job.unit.name,
        key=job.key,
        parts=job.parts,
        digest=store.put(out),
        findings=outcome.findings,
        measured=outcome.measured,
        gate=outcome.gate,
        started=started.isoformat(),
        finished=datetime.now(UTC).isoformat(),
        environment=_numeric_facts() if stage.numeric and job.units is None else {},
    )
    store.remember(entry)
    shutil.rmtree(job.store.parent / "scratch" / job.key, ignore_errors=True)
    return entry
