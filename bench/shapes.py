"""Simulated incidents in the shapes of public data sets, and how `explain` and its rivals do on each.

    python bench/shapes.py make FOLDER --seed 5001 --cases 40 [--shapes re1,pods]
    python bench/shapes.py run FOLDER [--shapes ...] [--localizer ...] [--misses] [--no-cache]

`make` writes a suite per shape, which every reader of the package takes like real data; `run` prints one row per
shape with given windows. Frames, and answers of algorithms whose code did not change, are kept below FOLDER/.cache.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from _shapes_draw import FAMILIES, made
from _shapes_score import CACHE, OWN, scores
from _shapes_write import SHAPES, names_cause
from aetia.bench.scoring import Score, case_values, counted

RIVALS = ("nsigma", "baro", "tracerca", "pagerank", "random", "log_novelty", "error_logs")
MEASURES = ("ac1", "ac3", "ac5", "avg5")
SILENT = ("abstained", "empty", "failed")


def make(folder: Path, shapes: Sequence[str], seed: int, cases: int) -> None:
    """Write the suites; what was there is replaced."""
    for shape in shapes:
        for old in (folder / shape, folder / CACHE / shape):
            if old.exists():
                shutil.rmtree(old)
        (folder / shape).mkdir(parents=True)
    for family in FAMILIES.values():
        mine = {shape: SHAPES[shape][1] for shape in shapes if SHAPES[shape][0] is family}
        if not mine:
            continue
        start, count = time.perf_counter(), 0
        for incident in made(family, cases, seed):
            for shape, write in mine.items():
                if names_cause(shape, incident):
                    write(folder / shape, incident)
            count += 1
        print(f"{family.name}: {count} cases for {', '.join(mine)} in {time.perf_counter() - start:.0f} s", flush=True)


def run(folder: Path, shapes: Sequence[str], localizers: Sequence[str], *, misses: bool, cache: bool) -> None:
    """Print the table, and with `misses` what explain missed by fault."""
    print("| shape | n | localizer | AC@1 | AC@3 | AC@5 | Avg@5 | silent | s |\n|---|---|---|---|---|---|---|---|---|")
    missed: list[str] = []
    for shape in shapes:
        start = time.perf_counter()
        found: defaultdict[str, list[Score]] = defaultdict(list)
        for name, score in scores(folder, shape, localizers, cache=cache):
            found[name].append(score)
        took = time.perf_counter() - start
        for line in _lines(shape, found, took):
            print(line, flush=True)
        if misses and OWN in found:
            missed += _misses(shape, found[OWN])
    print(*missed, sep="\n")


def _lines(shape: str, found: dict[str, list[Score]], took: float) -> list[str]:
    """Explain, then the rivals that are best by AC@1 and by Avg@5."""
    means = {name: {m: float(v.mean()) for m, v in case_values(counted(rows)).items()} for name, rows in found.items()}
    rivals = [name for name in means if name != OWN]
    best = [max(rivals, key=lambda name: (means[name][m], means[name]["avg5"])) for m in ("ac1", "avg5") if rivals]
    shown = [name for name in means if name == OWN] + list(dict.fromkeys(best))
    lines: list[str] = []
    for name in shown:
        rows = counted(found[name])
        silent = [f"{kind} {n}" for kind in SILENT if (n := sum(row.outcome == kind for row in rows))]
        values = " | ".join(f"{means[name][m]:.2f}" for m in MEASURES)
        first = name == shown[0]
        lines.append(
            f"| {shape if first else ''} | {len(rows) if first else ''} | {name} | {values} | "
            f"{', '.join(silent) or '-'} | {f'{took:.0f}' if first else ''} |"
        )
    return lines


def _misses(shape: str, rows: list[Score]) -> list[str]:
    """Per fault: hits of all, and of every miss the truth, its rank, and what was named instead."""
    groups: defaultdict[str, list[Score]] = defaultdict(list)
    for row in counted(rows):
        groups[row.fault or "unknown"].append(row)
    lines = [f"\n{shape}"]
    for fault, members in sorted(groups.items()):
        wrong = [row for row in members if row.best_rank != 1]
        said = [f"{'+'.join(row.truth)} (rank {row.best_rank or '-'}; {_named(row)})" for row in wrong]
        lines.append(f"  {fault} {len(members) - len(wrong)}/{len(members)}: {'; '.join(said) or '-'}")
    return lines


def _named(row: Score) -> str:
    return ", ".join(row.top[:2]) or row.outcome


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("make", "run"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--localizer", default=",".join((OWN, *RIVALS)))
    parser.add_argument("--seed", type=int, default=5001)
    parser.add_argument("--cases", type=int, default=40)
    parser.add_argument("--misses", action="store_true")
    parser.add_argument("--no-cache", action="store_true")
    options = parser.parse_args()
    shapes = options.shapes.split(",")
    unknown = sorted(set(shapes) - set(SHAPES))
    if unknown:
        parser.error(f"no such shapes: {', '.join(unknown)}; known: {', '.join(SHAPES)}")
    if options.what == "make":
        make(options.folder, shapes, options.seed, options.cases)
        return
    present = [shape for shape in shapes if (options.folder / shape).is_dir()]
    run(options.folder, present, options.localizer.split(","), misses=options.misses, cache=not options.no_cache)


if __name__ == "__main__":
    main()
