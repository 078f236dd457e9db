"""How often the checks of reasoning see a failure that is there, and how often they see one that is not.

    python bench/check_power.py FOLDER... [--most 200] [--seed 1] [--misses CODE]

FOLDERs hold journals of sound investigations, as `aetia bench run --journals` keeps them. Each is corrupted in every
way of `_corruptions.py` that it has room for, so that one failure is present, and watched again by all checks. Prints a
row per way: how many journals could be corrupted so, the share in which the check of that failure warned more often
than before (with Wilson's interval), and how many other checks did; then per check the share of the journals in which
it warned though nothing was changed. `--misses` shows the journals in which one check was blind.
"""

from __future__ import annotations

import argparse
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from _corruptions import CASES, Case, Events
from aetia.bench.intervals import wilson
from aetia.model.errors import ReportError
from aetia.model.journal import Closed, Event, Warned
from aetia.reason.checks.registry import TITLES, default_checks
from aetia.reason.desks import follow
from aetia.reason.journals import read_journal


def warned(events: Sequence[Event]) -> list[Warned]:
    """What the checks say of a journal."""
    checks = default_checks()
    said = (check.look(event, desk) for event, desk in follow(events) for check in checks)
    return [warning for warning in said if warning is not None]


def sound(folders: Sequence[Path], most: int, seed: int) -> Iterator[tuple[Path, Events]]:
    """Finished journals, without what the checks said then; some of each folder, drawn by the seed."""
    rng = np.random.default_rng(seed)
    for folder in folders:
        paths = sorted(folder.rglob("*.jsonl"))
        for at in sorted(rng.permutation(len(paths))[:most].tolist()):
            try:
                events = [event for event in read_journal(paths[at]) if not isinstance(event, Warned)]
            except ReportError:
                continue
            if isinstance(events[-1], Closed):
                yield paths[at], events


def tried(case: Case, path: Path, events: Events, before: Counter[str], seed: int) -> tuple[bool, list[str]] | None:
    """Whether the check saw the failure, and which others spoke up; None where it could not be put in."""
    rng = np.random.default_rng([seed, zlib.crc32(f"{path.name} {case.name}".encode())])
    changed = case.corrupt(events, rng)
    if changed is None:
        return None
    after = Counter(warning.check for warning in warned(changed))
    more = [code for code in after if after[code] > before[code]]
    return case.code in more, [code for code in more if code != case.code]


def _share(hits: int, n: int) -> str:
    if not n:
        return "–"
    low, high = wilson(hits / n, n)
    return f"{hits / n:.2f} [{low:.2f}, {high:.2f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--most", type=int, default=200, help="journals of each folder")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--misses", help="code of a check")
    options = parser.parse_args()
    alarms: Counter[str] = Counter()
    hits: dict[str, list[bool]] = defaultdict(list)
    others: dict[str, Counter[str]] = defaultdict(Counter)
    count = 0
    for path, events in sound(options.folders, options.most, options.seed):
        count += 1
        before = Counter(warning.check for warning in warned(events))
        alarms.update(set(before))
        for case in CASES:
            found = tried(case, path, events, before, options.seed)
            if found is None:
                continue
            hits[case.name].append(found[0])
            others[case.name].update(found[1])
            if case.code == options.misses and not found[0]:
                print(f"missed: {case.name}: {path}")
    print(f"{count} journals\n\n| check | failure put in | journals | seen | others that warned |\n|" + " --- |" * 5)
    for case in CASES:
        got = hits[case.name]
        also = ", ".join(f"{code} {n}" for code, n in others[case.name].most_common(4)) or "–"
        print(f"| {case.code} {TITLES[case.code]} | {case.name} | {len(got)} | {_share(sum(got), len(got))} | {also} |")
    print("\n| check | false alarms |\n| --- | --- |")
    for code, title in TITLES.items():
        print(f"| {code} {title} | {_share(alarms[code], count)} |")


if __name__ == "__main__":
    main()
