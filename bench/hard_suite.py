"""Writes hard cases as a suite that `aetia bench` reads; what makes a case hard is its group.

python bench/hard_suite.py FOLDER [--cases 5] [--seed 4301]
aetia bench run FOLDER --localizer explain --policy rules
"""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec

from _hard_draw import hard_cases
from aetia.ingest.case import write_case


def write_suite(folder: Path, cases: int, seed: int) -> int:
    """Writes `cases` of each kind; returns how many there are. Raises IngestError where a case is there already."""
    drawn = 0
    for hard in hard_cases(cases, seed):
        write_case(folder / hard.case.id, msgspec.structs.replace(hard.case, group=hard.kind), hard.telemetry)
        drawn += 1
    return drawn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cases", type=int, default=5, help="cases of each kind")
    parser.add_argument("--seed", type=int, default=4301)
    options = parser.parse_args()
    print(f"{write_suite(options.folder, options.cases, options.seed)} cases in {options.folder}")


if __name__ == "__main__":
    main()
