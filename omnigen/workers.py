# SPDX-License-Identifier: Apache-2.0
"""Processes that work for another one: they end when it does, however it dies."""

import multiprocessing
import os
import threading


def end_with_parent() -> None:
    """Lets this process end as soon as the process that started it has ended.

    Call it first thing in a process of `multiprocessing`: as the initializer of a pool, say. A
    worker whose parent was killed would otherwise wait for work for ever.

    Raises:
        ValueError: this process was not started by `multiprocessing`.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        raise ValueError("end_with_parent is for processes that multiprocessing starts")

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, name="end-with-parent", daemon=True).start()
