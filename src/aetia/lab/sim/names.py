"""Neutral names for generated systems: services, externals, operations, instances, nodes."""

from __future__ import annotations

import re

import numpy as np


def _words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\S+", text))


NOUNS = _words(
    """
    account address agenda album alert archive article asset atlas auction badge ballot banner basket batch beacon
    bill binder board booking border bridge budget bundle cabin calendar campaign canal cargo carrier catalog
    channel charge chart claim client clinic coach code column contact content contract coupon course credit crew
    currency customs dealer debit deposit desk dispatch district document dossier draft driver drone duty echo
    edition engine entry escrow estate event exchange export fare feed ferry field filter fleet flight folder
    forecast form forum freight fuel gallery garage gate geo gift grant grid group guest guide harbor hazard
    header health hotel house hub identity image import index insight intake invoice item journal journey kiosk
    label lane lead ledger lesson letter library license line listing loan lobby locker lounge loyalty luggage
    mail map market matrix meal media meeting member menu merchant message meter mint mission module mosaic museum
    note notice offer office orbit order outlet parcel parking partner pass patient payment payroll permit photo
    pickup pilot pipeline plan planner plaza point policy port portal poster press price printer profile project
    promo proof quota quote radar rail rank rating receipt recipe record refund region registry relay rental
    report reserve resort review reward ride roster route sale schedule search season seat section sensor session
    shelf shift shipment signal site sketch slot snapshot spot stable stage station statement stock store stream
    studio subject survey tag tariff task tax team tender terminal theater ticket tide timer token toll tour tower
    track trade transfer transit tray tutor unit vault vehicle vendor venue video visa visit voucher wallet ward
    warehouse watch weather wharf widget window yard zone
    """
)
QUALIFIERS = _words("base core fast live main multi open prime quick smart super trip web north south east west")
ACTIONS = _words("list get create update cancel check confirm query resolve reserve price rank sync load store")
STYLES = ("{}", "{}-service", "{}-svc", "svc-{}", "ts-{}", "{}")


def service_names(n: int, rng: np.random.Generator) -> list[str]:
    """`n` distinct service names in one random style."""
    style = STYLES[int(rng.integers(len(STYLES)))]
    pool = [str(word) for word in rng.permutation(np.array(NOUNS))]
    names = [style.format(word) for word in pool[:n]]
    round_ = 0
    while len(names) < n:
        qualifier = QUALIFIERS[round_ % len(QUALIFIERS)]
        names += [style.format(f"{qualifier}-{word}") for word in pool[: n - len(names)]]
        round_ += 1
    return names


def suffix(rng: np.random.Generator, length: int) -> str:
    """A random suffix as orchestrators append to instance names."""
    letters = "bcdfghjklmnpqrstvwxz2456789"
    return "".join(letters[int(i)] for i in rng.integers(len(letters), size=length))
