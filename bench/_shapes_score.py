"""Asks localizers about written shapes and keeps what can be kept: frames per case, answers of unchanged rivals."""

from __future__ import annotations

import ast
import functools
import hashlib
import os
import pickle
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

import aetia
from aetia import plugins
from aetia.bench.scoring import Answer, Score, score_answer
from aetia.bench.worker import Guard, declared_sli, freeze, to_answer
from aetia.ingest.source import list_cases
from aetia.model.case import Case
from aetia.model.tables import Telemetry
from aetia.signals.view import Facts, View

ROOT = Path(aetia.__file__).parent
CACHE = ".cache"
OWN = "explain"


class Kept:
    """What a cached case keeps of its telemetry; the large tables are read again when something asks for them."""

    def __init__(self, telemetry: Telemetry, reader: str, path: Path, case_id: str) -> None:
        self.changes, self.topology = telemetry.changes, telemetry.topology
        self.dropped, self.sampled, self.rows = telemetry.dropped, telemetry.sampled, telemetry.rows
        self._source = reader, path, case_id

    @functools.cached_property
    def _whole(self) -> Telemetry:
        reader, path, case_id = self._source
        return plugins.create("reader", reader).load(path, case_id).telemetry

    @property
    def spans(self) -> pa.Table:
        return self._whole.spans

    @property
    def logs(self) -> pa.Table:
        return self._whole.logs

    @property
    def metrics(self) -> pa.Table:
        return self._whole.metrics

    def table(self, name: str) -> pa.Table:
        return getattr(self, name)


@functools.cache
def _imports(path: Path) -> frozenset[Path]:
    """The files of the package that a file imports."""
    found: set[Path] = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "aetia":
                stem = ROOT.joinpath(*parts[1:])
                found |= {file for file in (stem.with_suffix(".py"), stem / "__init__.py") if file.is_file()}
    return frozenset(found)


@functools.cache
def code_of(*modules: str) -> str:
    """Hash of some modules of the package and of all that they import."""
    todo = [ROOT / f"{module}.py" for module in modules]
    seen: set[Path] = set()
    while todo:
        path = todo.pop()
        if path not in seen:
            seen.add(path)
            todo += _imports(path)
    digest = hashlib.sha256(sys.version.encode())
    for path in sorted(seen):
        digest.update(path.as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _room(name: str) -> list[str]:
    """The modules of a room, which are found by the registry and not by imports."""
    return [path.relative_to(ROOT).with_suffix("").as_posix() for path in sorted((ROOT / name).rglob("*.py"))]


@functools.cache
def _signals_code() -> str:
    frames = ("signals/view", "signals/logs", "signals/metrics", "signals/spans", "signals/topology")
    return code_of(*frames, *_room("ingest"))


def scores(folder: Path, shape: str, localizers: Iterable[str], *, cache: bool = True) -> Iterator[tuple[str, Score]]:
    """(localizer, score) of every case of a shape. An algorithm that fails is scored as a failure."""
    names = list(localizers)
    reader, path, cases = list_cases(str(folder / shape))
    for number, case in enumerate(cases):
        store = folder / CACHE / shape / f"{number:04d}"
        store.parent.mkdir(parents=True, exist_ok=True)
        known: dict[str, tuple[str, bytes]] = {}
        answers = store.with_suffix(".answers")
        if cache and answers.is_file():
            known = pickle.loads(answers.read_bytes())
        keys = {name: _answer_key(name, case) for name in names}
        missing = [name for name in names if not cache or known.get(name, ("",))[0] != keys[name]]
        if missing:
            for name, answer in _asked(reader, path, case, store.with_suffix(".facts") if cache else None, missing):
                known[name] = keys[name], msgspec.msgpack.encode(answer)
            if cache:
                _write(answers, pickle.dumps(known))
        for name in names:
            yield name, score_answer(msgspec.msgpack.decode(known[name][1], type=Answer), case)


def _answer_key(name: str, case: Case) -> str:
    rooms = _room("evidence") if name == OWN else []
    code = code_of(f"localize/{name}", "detect/detector", "bench/worker", *rooms)
    text = f"{code} {_signals_code()} {msgspec.json.encode(case).decode()}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _asked(reader: str, path: Path, case: Case, store: Path | None, names: list[str]) -> Iterator[tuple[str, Answer]]:
    facts = _facts(reader, path, case, store)
    assert case.incident is not None and case.baseline is not None, f"{case.id} has no windows"
    detector = plugins.create("detector", next(iter(plugins.names("detector"))))
    found = detector.detect(facts, baseline=case.baseline, incident=case.incident, sli=declared_sli(case.sli))
    view = View(facts, (case.baseline,), case.incident, case.baselines)
    freeze(facts)
    for name in names:
        answer = Answer()
        with Guard("exception") as guard:
            answer = to_answer(plugins.create("localizer", name).localize(view, found[0], seed=0))
        yield name, answer if guard.failure is None else Answer(failure=guard.failure)


def _facts(reader: str, path: Path, case: Case, store: Path | None) -> Facts:
    """The frames of a case, from the cache when the code that makes them is the same."""
    code = _signals_code()
    if store is not None and store.is_file():
        with store.open("rb") as file:
            if pickle.load(file) == code:
                return pickle.load(file)
    telemetry = plugins.create("reader", reader).load(path, case.id).telemetry
    facts: Any = Facts(telemetry)
    for name in ("names", "spans", "logs", "metrics", "topology"):
        getattr(facts, name)
    facts.telemetry = Kept(telemetry, reader, path, case.id)
    if store is not None:
        _write(store, pickle.dumps(code) + pickle.dumps(facts, protocol=pickle.HIGHEST_PROTOCOL))
    return facts


def _write(path: Path, content: bytes) -> None:
    """Replace a file at once, so that several runs may share a cache."""
    scratch = path.with_name(f"{path.name}.{os.getpid()}")
    scratch.write_bytes(content)
    scratch.replace(path)
