# SPDX-License-Identifier: Apache-2.0
"""Speed of the engine with the model that ships, beside the sampler's, in one process by turns.

`python tests/serve/test_speed.py [ROWS]` prints it. It takes two to ten minutes on two cores.
"""

import asyncio
import json
import os
import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest

TEXTS = [
    "a red circle left of a blue star",
    "two green cats on a table",
    "a small house under a big sun",
    'the word "hello" in red',
    "a yellow heart",
    "three fish in the sea",
    "a black dog",
    "a purple triangle above a square",
]
ROUNDS = 3


def timed(run):
    """Also the seconds that passed, and those of all cores, which other work disturbs less."""
    began, worked = time.perf_counter(), time.process_time()
    found = run()
    return found, time.perf_counter() - began, time.process_time() - worked


def measure(rows=None):
    """Least seconds of each way to draw, and how many pictures were not the same bytes."""
    import jax

    from omnigen.generation.generate import drawn
    from omnigen.generation.prompt import prompt_rows
    from omnigen.generation.sampler import Request, Sampler
    from omnigen.serve.engine import Engine

    requests = [Request(text, seed=seed) for seed, text in enumerate(TEXTS)]
    engine, sampler = Engine.load(rows=rows), Sampler.load()
    omni, params = sampler._omni, sampler._params

    async def one(request):
        return [event async for event in engine.submit(request).events()][-1].drawing.pixels

    async def client(number):
        """Draws two pictures, one after the other."""
        return [await one(requests[(number + i) % 8]) for i in range(2)]

    async def clients():
        return await asyncio.gather(*(client(number) for number in range(8)))

    def batches():
        for _ in range(2):
            keys = jax.vmap(jax.random.key)(np.arange(8, dtype=np.uint32))
            rows = prompt_rows(omni, TEXTS)
            jax.block_until_ready(drawn(omni, params, rows, keys, requests[0]).images)

    ways = {
        "sampler_s": lambda: sampler(TEXTS[0]),
        "lone_s": lambda: asyncio.run(one(requests[0])),
        "batches_s": batches,
        "clients_s": lambda: asyncio.run(clients()),
    }
    for run in ways.values():
        run()
    alone = [asyncio.run(one(request)) for request in requests]
    seconds, cores, other = {name: [] for name in ways}, {name: [] for name in ways}, 0
    for _ in range(ROUNDS):
        for name, run in ways.items():
            found, taken, worked = timed(run)
            seconds[name].append(taken)
            cores[name].append(worked)
            if name == "clients_s":
                other += sum(
                    not np.array_equal(pixels, alone[(number + i) % 8])
                    for number, two in enumerate(found)
                    for i, pixels in enumerate(two)
                )
    told = {name: round(min(times), 3) for name, times in seconds.items()}
    told |= {f"{name[:-2]}_cores_s": round(min(times), 3) for name, times in cores.items()}
    engine.close(drain_s=1)
    told["ratio"] = round(told["batches_s"] / told["clients_s"], 3)
    told["cores_ratio"] = round(told["batches_cores_s"] / told["clients_cores_s"], 3)
    told |= {"ready_s": round(engine.ready_s, 1), "other_bytes": other}
    return told | {"device": jax.devices()[0].device_kind, "rows": engine._drawer.rows}


@pytest.mark.slow
def test_eight_clients_draw_as_fast_as_a_batch():
    """Three to ten minutes on two cores."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("XLA_", "JAX_"))}
    root = pathlib.Path(__file__).parents[2]
    command = [sys.executable, __file__]
    done = subprocess.run(
        command, env=plain | {"PYTHONPATH": str(root)}, capture_output=True, text=True, check=True
    )
    told = json.loads(done.stdout)
    assert told["other_bytes"] == 0
    assert told["ratio"] >= 0.9, told


if __name__ == "__main__":
    print(json.dumps(measure(*map(int, sys.argv[1:]))))
