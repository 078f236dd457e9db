"""The worker process of the store (`python -m aetia.store.worker`): it decodes, sorts, compresses and merges, so that
the process that takes requests does not have to. One job at a time, one JSON line in, one out.

It only ever writes into the scratch folder of its job; the store puts files in their places (`commits.py`). When its
input ends, because the store is gone, it ends at once.
"""

from __future__ import annotations

import os
import queue
import shutil
import signal
import sys
import threading
import time
from pathlib import Path
from typing import NoReturn

import msgspec

from aetia.store.jobs import Answer, CompactJob, Failed, Job, MergeJob

_NICE = 5


def main() -> NoReturn:
    os.nice(_NICE)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal; the store says when to end
    jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(jobs,), daemon=True).start()
    while True:
        answer = run(jobs.get())
        try:
            sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
            sys.stdout.buffer.flush()
        except OSError:  # the store is gone
            os._exit(0)
        _give_back_memory()


def _read(jobs: queue.SimpleQueue[Job]) -> None:
    for line in sys.stdin.buffer:
        jobs.put(msgspec.json.decode(line, type=Job))
    os._exit(0)


def run(job: Job) -> Answer:
    """Do a job. Whatever fails is an answer, and leaves nothing in the scratch folder."""
    from aetia.store.compaction import BadPart, compact, merge, roll_up

    began = time.process_time()
    scratch = Path(job.folder, job.scratch)
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        if isinstance(job, CompactJob):
            done = compact(job)
        else:
            done = merge(job) if isinstance(job, MergeJob) else roll_up(job)
        return msgspec.structs.replace(done, cpu_s=time.process_time() - began)
    except BadPart as error:
        failed = Failed(problem=str(error), bad_part=error.path)
    except OSError as error:
        failed = Failed(problem=str(error), errno=error.errno or 0)
    except Exception as error:  # noqa: BLE001 - one job must not end the worker; the store is told
        failed = Failed(problem=f"{type(error).__name__}: {error}")
    shutil.rmtree(scratch, ignore_errors=True)
    return failed


def _give_back_memory() -> None:
    import pyarrow as pa

    pa.default_memory_pool().release_unused()


if __name__ == "__main__":
    main()
