"""Ray as the engine: Ray Data maps manifests to a pool of actors, each with its own models."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Any

from fakescan.distributed.parts import Manifest
from fakescan.distributed.worker import Introduction, Job, Worker
from fakescan.records import FakescanError, how_to_install

CPUS_AN_ACTOR = 4
"""Where there are no GPUs: more would wait for one Python process, and fewer each load models."""

OBJECT_STORE_BYTES = 200 << 20
"""Of a Ray of our own: nothing but names of manifests passes through."""

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Or workers wait, at 15, for whatever else the machine does.
    "RAY_worker_niceness": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    # Its news of lost workers would go to standard output, among the results.
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",
}

MakeWorker = Callable[[Job, int], Worker]


@dataclass(frozen=True, slots=True)
class Pool:
    """How many actors, and what each takes."""

    actors: int
    cpus: int
    gpus: int


class RayEngine:
    """Actors on the Ray cluster at `address`, or on a Ray of this process's own.

    A Ray that is connected already is used as it is, and left running. Raises FakescanError where
    Ray isn't installed; the methods do so where no cluster answers.
    """

    def __init__(self, address: str | None = None, make_worker: MakeWorker = Worker) -> None:
        if find_spec("ray") is None:
            raise FakescanError(f"Ray is not installed: {how_to_install('ray')}")
        if address is not None and address.startswith("ray://"):
            raise FakescanError(
                f"--ray-address {address}: run the command on a node of the cluster, and name"
                " HOST:6379 or auto."
            )
        self._address = address
        self._make_worker = make_worker
        self._is_ours = False

    def introduce(self, job: Job) -> Introduction:
        """What one worker, with an actor's share of CPUs and GPUs, says of itself."""
        self._connect()
        import ray

        pool = plan_pool((node["Resources"] for node in _nodes()), job.options.device)
        make_worker = self._make_worker

        def introduce() -> Introduction:
            _fit_threads(pool.cpus)
            return make_worker(job, pool.cpus).introduce()

        task = ray.remote(num_cpus=pool.cpus, num_gpus=pool.gpus, max_retries=1)(introduce)
        try:
            introduction: Introduction = ray.get(task.remote())
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, FakescanError):
                raise FakescanError(str(error.cause)) from None
            if "No module named 'fakescan'" in str(error):
                raise FakescanError("Install fakescan on every node of the Ray cluster.") from error
            raise
        except ray.exceptions.WorkerCrashedError as error:
            raise FakescanError("A worker ended while it loaded the models.") from error
        return introduction

    def measure(self, job: Job, manifests: Sequence[Manifest]) -> Generator[bool]:
        """Whether each manifest's part is there, as they end.

        Ray starts a lost actor again and gives it its manifest again, without end; that a manifest
        is begun `TRIES` times at most is the part folder's doing.
        """
        self._connect()
        from ray import data

        pool = plan_pool((node["Resources"] for node in _nodes()), job.options.device)
        actors = min(pool.actors, len(manifests))
        # Ray Data tells each of these to go to an actor by itself, whatever it weighs.
        rows = data.from_items(
            [asdict(one) for one in manifests], override_num_blocks=len(manifests)
        )
        outcomes = rows.map_batches(
            _Actor,
            batch_size=1,
            compute=data.ActorPoolStrategy(size=actors, max_tasks_in_flight_per_actor=1),
            fn_constructor_args=(job, pool.cpus, self._make_worker),
            num_cpus=pool.cpus,
            num_gpus=pool.gpus,
        )
        for batch in outcomes.iter_batches(batch_size=None, prefetch_batches=0):
            for is_done, mistake, bug in zip(
                batch["is_done"], batch["mistake"], batch["bug"], strict=True
            ):
                if mistake:
                    raise FakescanError(str(mistake))
                if bug:
                    raise RuntimeError(f"a worker failed:\n{bug}")
                yield bool(is_done)

    def close(self) -> None:
        """Shut down a Ray of our own, or leave the cluster, which ends its actors."""
        if self._is_ours:
            import ray

            self._is_ours = False
            ray.shutdown()

    def _connect(self) -> None:
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        try:
            import ray
            from ray import data
        except ImportError as error:
            raise FakescanError(f"Ray Data is not installed: {how_to_install('ray')}") from error
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        context = data.DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_no_progress_timeout_s = -1  # a manifest may well take half an hour
        if ray.is_initialized():
            return
        own = {"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
        try:
            with _hushed():
                ray.init(
                    address=self._address or "local",
                    log_to_driver=False,
                    logging_level=logging.CRITICAL,
                    **(own if self._address is None else {}),
                )
        except Exception as error:
            # A node that doesn't come up is a bare Exception of Ray's.
            if self._address is None:
                reason = str(error).partition("\n")[0]
                raise FakescanError(
                    f"Ray doesn't start here ({reason}); scan without --engine ray"
                ) from error
            if isinstance(error, ConnectionError | ValueError):
                raise FakescanError(
                    f"--ray-address {self._address}: no Ray cluster answers there."
                ) from error
            raise
        self._is_ours = True


class _Actor:
    """A worker as Ray Data wants it: a batch of one manifest in, a batch of one outcome out."""

    def __init__(self, job: Job, cpus: int, make_worker: MakeWorker) -> None:
        _fit_threads(cpus)
        self._worker = make_worker(job, cpus)
        self._thread = ThreadPoolExecutor(1)

    def __call__(self, batch: Mapping[str, Sequence[Any]]) -> dict[str, list[object]]:
        manifest = Manifest(
            int(batch["number"][0]), str(batch["digest"][0]), int(batch["count"][0])
        )
        # An error goes back as a row. Ray would log it at length, and stop what others do.
        outcome = self._thread.submit(self._worker.measure, manifest)
        error = outcome.exception()
        is_mistake = isinstance(error, FakescanError)
        bug = "" if error is None or is_mistake else "".join(traceback.format_exception(error))
        return {
            "is_done": [error is None and outcome.result()],
            "mistake": [str(error) if is_mistake else ""],
            "bug": [bug],
        }


def plan_pool(nodes: Iterable[Mapping[str, float]], device: str) -> Pool:
    """Divide nodes, each given by its Ray resources, among actors: one a GPU where there are any.

    Raises FakescanError for a device that they don't have.
    """
    able = [node for node in nodes if node.get("CPU", 0) >= 1]
    if not able:
        raise FakescanError("The Ray cluster has no CPUs: start workers first.")
    with_gpus = [node for node in able if node.get("GPU", 0) >= 1]
    if device.startswith("cuda") and not with_gpus:
        raise FakescanError(f"--device {device}: the Ray cluster has no GPUs.")
    if device.startswith("cuda:"):
        raise FakescanError(f"--device {device}: Ray hands out the GPUs; write cuda.")
    if with_gpus and (device in {"auto", "cuda"}):
        actors = sum(int(min(node["GPU"], node["CPU"])) for node in with_gpus)
        cpus = min(int(node["CPU"] // node["GPU"]) for node in with_gpus)
        return Pool(actors, max(1, cpus), 1)
    smallest = int(min(node["CPU"] for node in able))
    cpus = smallest // max(1, smallest // CPUS_AN_ACTOR)
    return Pool(sum(int(node["CPU"] // cpus) for node in able), cpus, 0)


def _nodes() -> list[dict[str, Any]]:
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


@contextmanager
def _hushed() -> Iterator[None]:
    # Ray's own code writes to the descriptor, whatever it is told, that it was told to be quiet.
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _fit_threads(cpus: int) -> None:
    # Before anything that reads it is loaded: torch, and all that computes by OpenMP.
    os.environ["OMP_NUM_THREADS"] = str(cpus)
