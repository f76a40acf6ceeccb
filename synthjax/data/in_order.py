"""Work on several items at a time, whose results come in order."""

import collections
import concurrent.futures
from collections.abc import Callable, Generator, Sequence

import numpy as np


def in_order(
    draw: Callable[[int], np.ndarray], blocks: Sequence[int], workers: int
) -> Generator[np.ndarray, None, None]:
    """draw(b) of each block in turn, `workers` of them at a time."""
    if workers == 1:
        yield from map(draw, blocks)
        return
    pending: collections.deque[concurrent.futures.Future[np.ndarray]] = collections.deque()
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        try:
            for b in blocks:
                pending.append(pool.submit(draw, b))
                if len(pending) == workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
