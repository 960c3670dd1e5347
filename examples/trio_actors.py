"""Learn from the episodes of several actors at once, in a trio program.

    python examples/trio_actors.py

The cross-entropy method on a real, if small, problem: push a mass along a line so that it comes to
rest at the origin. The learner draws policies, actors in a nursery try them, and the best ones say
where to draw next. Should it take longer than a minute, trio cancels it all, and the run is
finished on the way out.
"""

from __future__ import annotations

import numpy as np
import trio
from numpy.typing import NDArray

import asyncwb

Policy = NDArray[np.float64]  # how hard to push for a metre away, and for a metre a second
GENERATIONS, CANDIDATES, ELITE, ACTORS = 30, 24, 6, 4


def episode(policy: Policy, seed: int) -> float:
    """Return what an episode costs: the squared distances and pushes, summed over 100 steps."""
    rng = np.random.default_rng(seed)
    place, speed, cost = rng.normal(2.0, 0.5), rng.normal(0.0, 0.5), 0.0
    for _ in range(100):
        push = float(np.clip(-policy @ (place, speed), -2.0, 2.0))
        speed += 0.1 * push
        place += 0.1 * speed
        cost += 0.1 * (place**2 + 0.1 * push**2)
    return cost


async def act(
    tasks: trio.MemoryReceiveChannel[tuple[int, Policy]],
    costs: trio.MemorySendChannel[tuple[float, Policy]],
) -> None:
    async with tasks, costs:
        async for seed, policy in tasks:
            await costs.send((await trio.to_thread.run_sync(episode, policy, seed), policy))


async def learn(
    tasks: trio.MemorySendChannel[tuple[int, Policy]],
    costs: trio.MemoryReceiveChannel[tuple[float, Policy]],
) -> None:
    config = {"candidates": CANDIDATES, "elite": ELITE, "actors": ACTORS}
    rng, mean, spread = np.random.default_rng(0), np.zeros(2), np.ones(2)
    async with tasks, costs, asyncwb.init_async(project="examples", config=config) as run:
        for generation in range(GENERATIONS):
            for _ in range(CANDIDATES):
                await tasks.send((generation, rng.normal(mean, spread)))
            tried = [await costs.receive() for _ in range(CANDIDATES)]
            best = sorted(tried, key=lambda one: one[0])[:ELITE]
            mean = np.mean([policy for _, policy in best], axis=0)
            spread = np.std([policy for _, policy in best], axis=0) + 0.02
            await run.log({"cost/best": best[0][0], "cost/mean": np.mean([c for c, _ in tried])})
        await run.flush()  # the server has all of it now
        print(f"cost {best[0][0]:.2f} with {mean.round(2)}, {run.url}")


async def main() -> None:
    send_task, receive_task = trio.open_memory_channel[tuple[int, Policy]](CANDIDATES)
    send_cost, receive_cost = trio.open_memory_channel[tuple[float, Policy]](CANDIDATES)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            async with receive_task, send_cost:
                for _ in range(ACTORS):
                    nursery.start_soon(act, receive_task.clone(), send_cost.clone())
            nursery.start_soon(learn, send_task, receive_cost)


if __name__ == "__main__":
    trio.run(main)
