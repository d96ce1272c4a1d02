"""torch as the codec needs it, whatever the program around has set, and left as it was found.

What torch keeps for each thread is set here for as long as it is needed. What it keeps for the whole process (the default dtype)
is never touched, since another thread may rely on it: tensors name their dtype where they are made.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_forked = False


def _note_fork() -> None:
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


@contextmanager
def plain_torch() -> Iterator[None]:
    """No inference mode, so that modules can be used in any mode later, and no autocast; out of memory is a MemoryError.

    A forked child has none of its parent's worker threads and would wait for them forever: there torch is left with one thread.
    """
    if _forked and torch.get_num_threads() > 1:
        torch.set_num_threads(1)
    with torch.inference_mode(False), torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
        try:
            yield
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise MemoryError(str(error)) from None
            raise


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch says that it could not allocate."""
    return "alloc" in str(error) or "out of memory" in str(error)


@contextmanager
def building_modules() -> Iterator[None]:
    """As `plain_torch`, on the CPU, and the random numbers of a module's start are not taken from the program's generator.

    Parameters have the program's default dtype: convert the module with `.float()`.
    """
    with plain_torch(), torch.device("cpu"), torch.random.fork_rng(devices=[]):
        yield
