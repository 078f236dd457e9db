"""Where the journals of a bench run lie: one file per case, method and repeat."""

from __future__ import annotations

import hashlib
from pathlib import Path

from aetia.bench.messages import Task
from aetia.bench.methods import Method
from aetia.ingest.case import folder_name
from aetia.model.errors import BenchError


def journal_name(task: Task, method: Method) -> str:
    """The file of one investigation, below the folder of journals: SUITE/CASE--LOCALIZER+POLICY#REPEAT.jsonl, with the
    onset and the perturbation where they are not the usual ones."""
    unusual = [text for text in (task.onset, task.perturbation) if text not in ("given", "none")]
    return f"{_plain(task.suite)}/{_plain('--'.join([task.case, method.text, *unusual]))}.jsonl"


def _plain(text: str) -> str:
    """The text as a file's name; what has to be changed for that is told apart by a hash."""
    name = folder_name(text)
    return name if name == text else f"{name[:100]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def folder_for(journals: str | Path | None) -> str | None:
    """The folder of journals, there and absolute; None without one. Raises BenchError when it cannot be made."""
    if journals is None:
        return None
    folder = Path(journals).resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BenchError(
            f"{folder}: journals cannot be kept there ({error.strerror}); choose another folder."
        ) from error
    return str(folder)
