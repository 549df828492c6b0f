"""A training step beside a bare PyTorch loop (`python -m benchmarks.train_step`).

Same network, same batches with the same augmentation, same loss, same optimizer, one thread: the
product's loop (digests of batches, finiteness, rates, averaging off) against a dozen lines. Both
run in turns in one process; the ratio is that of the medians of processor time and of the clock.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from time import perf_counter, process_time

import numpy as np
import torch

from stages.network import assemble, pinned
from stages.params import Network, Numerics, Volume
from stages.train.batches import batches
from stages.train.loop import CLIP_NORM, Course, Training
from stages.train.objective import Supervised
from stages.train.params import TrainParams
from stages.train.source import Source

ROUNDS, CASES = 7, 8
VOLUME = Volume(patch=(40, 56, 40))
NETWORK = Network(arguments={"init_filters": 8, "blocks_down": (1, 2, 2), "blocks_up": (1, 1)})
TRAIN = TrainParams(batch=2)
NUMERICS = Numerics(threads=1)


def main() -> None:
    """Print the figures."""
    with pinned(NUMERICS):
        sources = [_source(seed) for seed in range(CASES)]
        runs = {"kette": _kette(sources), "bare loop": _bare(sources)}
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
        for number in range(1, ROUNDS + 1):
            for name in sorted(runs, reverse=bool(number % 2)):
                started = perf_counter(), process_time()
                runs[name](number)
                times[name].append((perf_counter() - started[0], process_time() - started[1]))
    steps = CASES // TRAIN.batch
    for place, clock in enumerate(("clock", "processor")):
        found = {n: statistics.median(row[place] for row in rows[1:]) for n, rows in times.items()}
        print(
            f"{clock}: kette {found['kette'] / steps:.3f} s a step; "
            f"bare loop {found['bare loop'] / steps:.3f} s; "
            f"ratio {found['kette'] / found['bare loop']:.3f}"
        )


def _source(seed: int) -> Source:
    random = np.random.default_rng(seed)
    labels = np.zeros(VOLUME.patch, np.float32)
    labels[10:30, 20:40, 10:30] = 1
    image = random.normal(size=VOLUME.patch).astype(np.float32) + labels
    where = (np.flatnonzero(labels),)
    target = torch.from_numpy(labels)[None, None]
    return Source(torch.from_numpy(image)[None, None], 0.0, target, (1.0, 1.0, 1.0), where, (1,))


def _objective() -> Supervised:
    return Supervised(torch.ones(3), torch.zeros(0))


def _module() -> torch.nn.Module:
    torch.manual_seed(0)
    return assemble(NETWORK, VOLUME, channels=3)


def _kette(sources: list[Source]) -> Callable[[int], None]:
    course = Course.of("benchmark", ROUNDS, 1, TRAIN, NUMERICS)
    training = Training(_module(), _objective(), course)
    run = training.run(lambda epoch: batches(sources, epoch, VOLUME.patch, TRAIN, 1))

    def epoch(_number: int) -> None:
        next(run)

    return epoch


def _bare(sources: list[Source]) -> Callable[[int], None]:
    module, objective = _module(), _objective()
    optimizer = torch.optim.AdamW(
        module.parameters(), lr=TRAIN.learning_rate, weight_decay=TRAIN.weight_decay, fused=True
    )

    def epoch(number: int) -> None:
        module.train()
        for batch in batches(sources, number, VOLUME.patch, TRAIN, 1):
            loss = objective(module, batch)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), CLIP_NORM)
            optimizer.step()

    return epoch


if __name__ == "__main__":
    main()
