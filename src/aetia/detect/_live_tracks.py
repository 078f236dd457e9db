"""Broken SLIs of a stream from look to look: when one is believed, when it is over, and which belong together."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import msgspec
import numpy as np

from aetia.detect._entries import Entries
from aetia.detect._live_usual import Base
from aetia.detect._requests import RECOVERED, Harm, Sli, Usual
from aetia.detect._scan import GOOD_BINS_TO_CLOSE, sharpened
from aetia.detect.latency import MIN_SLOW_SHARE
from aetia.detect.objectives import Burning
from aetia.detect.success import harmful_share
from aetia.model.diagnosis import SliBreach
from aetia.model.entity import Entity
from aetia.signals.frames import F64, Bool
from aetia.signals.stats import binomial_p

OVERWHELMING_P = 1e-20
STILL = 0.75
"""Share of the harmful level above which a broken SLI has not recovered, where that is no chance (`STILL_P`)."""
STILL_P = 1e-3
MERGE_NS = 60_000_000_000
FORGET_LOOKS = 3
IDLE_NS = 600_000_000_000
SHARPEN_BINS = 24
YOUNG_NS = 120_000_000_000
"""As long as a harm is young, its onset is told again at every look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What is seen at one tick: the latest requests, exact counts (groups, bins), and what is usual."""

    now_ns: int
    data: Entries
    count: F64
    base: Base
    usual: Usual
    """The base with the load of these bins."""
    arriving: F64
    """Requests per bin that arrived lately, per group (groups,), whatever their times say."""


class Track(msgspec.Struct, kw_only=True):
    """One SLI of one entry point that is broken, or was."""

    entity: Entity
    sli: Sli
    quantile: int
    onset_ns: int
    last_bad_ns: int
    p: float
    level: float = 0.0
    """Requests per bin before a loss."""
    looks: int = 0
    missed: int = 0
    confirmed_ns: int | None = None
    ended_ns: int | None = None
    promised: SliBreach | None = None
    """What an objective says of it, where it is one that is broken."""


class Episode(msgspec.Struct, kw_only=True):
    """Broken SLIs that belong together; `keys` of those that it took over."""

    key: str
    tracks: list[tuple[Entity, Sli]] = []
    merged: list[str] = []


@dataclass(slots=True)
class Tracks:
    """All broken SLIs. `looks_to_open` looks in a row are believed; `keep_ns` is how long an episode that is over is
    remembered, so that harm which comes back goes on with it."""

    looks_to_open: int
    keep_ns: int
    tracks: dict[tuple[Entity, Sli], Track] = field(default_factory=dict[tuple[Entity, Sli], Track])
    episodes: list[Episode] = field(default_factory=list[Episode])

    def update(self, look: Look, harms: Iterable[Harm], related: Callable[[Entity, Entity], bool]) -> None:
        """Follow what was found at one look."""
        found: dict[tuple[Entity, Sli], Harm] = {}
        for harm in harms:
            key = look.data.entities[harm.group], harm.sli
            if _is_current(look, harm) and (key not in found or harm.p < found[key].p):
                found[key] = harm
        for key, harm in found.items():
            self._see(look, key, harm)
        for key, track in list(self.tracks.items()):
            if key not in found:
                track.looks = 0
                track.missed += 1
            if track.confirmed_ns is not None:
                if track.promised is None:
                    follow(look, track)
            elif track.missed >= FORGET_LOOKS:
                del self.tracks[key]
        self._assign(look.now_ns, related)

    def promise(self, burning: Iterable[Burning], now_ns: int, related: Callable[[Entity, Entity], bool]) -> None:
        """Follow which objectives are broken; what the search has found by itself already needs none."""
        found: dict[tuple[Entity, Sli], Burning] = {(one.breach.entry, one.breach.sli): one for one in burning}
        for key, one in found.items():
            track = self.tracks.get(key)
            if track is None or track.confirmed_ns is None or track.promised is not None:
                track = track or Track(entity=key[0], sli=key[1], quantile=1, onset_ns=one.breach.onset_ns,
                                       last_bad_ns=one.last_ns, p=0.0)  # fmt: skip
                track.confirmed_ns = track.confirmed_ns or now_ns
                track.promised, track.ended_ns = one.breach, None
                track.last_bad_ns = min(one.last_ns, now_ns)
                self.tracks[key] = track
        for key, track in self.tracks.items():
            if track.promised is not None and key not in found and track.ended_ns is None:
                track.ended_ns = max(track.last_bad_ns, track.onset_ns + 1)
        self._assign(now_ns, related)

    def _see(self, look: Look, key: tuple[Entity, Sli], harm: Harm) -> None:
        track = self.tracks.get(key)
        if track is None:
            track = self.tracks[key] = Track(
                entity=key[0],
                sli=harm.sli,
                quantile=harm.quantile,
                onset_ns=harm.onset_ns,
                last_bad_ns=harm.end_ns,
                p=1.0,
            )
        track.looks += 1
        track.missed = 0
        young = track.confirmed_ns is None or look.now_ns - track.confirmed_ns < YOUNG_NS
        if young and track.ended_ns is None:
            track.onset_ns = onset_of(look, harm)
            track.quantile = harm.quantile if harm.p < track.p else track.quantile
        if harm.sli == "throughput" and track.level == 0.0:
            track.level = level_before(look, harm)
        if track.ended_ns is not None and harm.end_ns > track.ended_ns + 2 * look.data.step_ns:
            track.ended_ns = None
        track.p = min(track.p, harm.p)
        track.last_bad_ns = max(track.last_bad_ns, harm.end_ns)
        if track.confirmed_ns is None and (track.looks >= self.looks_to_open or harm.p < OVERWHELMING_P):
            track.confirmed_ns = look.now_ns

    def _assign(self, now_ns: int, related: Callable[[Entity, Entity], bool]) -> None:
        """Every believed track belongs to one episode; what touches two of them makes them one."""
        mine = {key for episode in self.episodes for key in episode.tracks}
        for key, track in sorted(self.tracks.items(), key=lambda item: item[1].onset_ns):
            if track.confirmed_ns is None or key in mine:
                continue
            near = [e for e in self.episodes if self._touches(e, track, related)]
            if near:
                first = near[0]
                first.tracks.append(key)
                for other in near[1:]:
                    first.tracks += other.tracks
                    first.merged += [other.key, *other.merged]
                    self.episodes.remove(other)
            else:
                self.episodes.append(Episode(key=f"{track.onset_ns:x}-{track.entity.name}", tracks=[key]))
        for episode in list(self.episodes):
            over = [self.tracks[key].ended_ns for key in episode.tracks]
            if all(end is not None and now_ns - end > self.keep_ns for end in over):
                self.episodes.remove(episode)
                for key in episode.tracks:
                    del self.tracks[key]

    def _touches(self, episode: Episode, track: Track, related: Callable[[Entity, Entity], bool]) -> bool:
        members = [self.tracks[key] for key in episode.tracks]
        if not any(related(member.entity, track.entity) for member in members):
            return False
        end = max(member.last_bad_ns if member.ended_ns is None else member.ended_ns for member in members)
        return any(member.ended_ns is None for member in members) or track.onset_ns <= end + MERGE_NS

    @property
    def open(self) -> list[Track]:
        """Tracks that are suspected or go on."""
        return [track for track in self.tracks.values() if track.ended_ns is None]


def _is_current(look: Look, harm: Harm) -> bool:
    """Whether a harm reaches the latest bins; a loss those that are complete, and only when requests really stay away:
    what arrives with times of long ago is a matter of clocks or queues."""
    if harm.sli != "throughput":
        return harm.end_ns > int(look.data.bin_start_ns[-1]) - GOOD_BINS_TO_CLOSE * look.data.step_ns
    whole = np.flatnonzero(look.data.whole)
    if len(whole) == 0:
        return False
    missing = look.arriving[harm.group] < RECOVERED * level_before(look, harm)
    return bool(missing) and harm.end_ns >= int(look.data.bin_start_ns[whole[-1]])


def level_before(look: Look, harm: Harm) -> float:
    """Requests per bin of an entry point before a loss, at most what is usual."""
    low = int(np.searchsorted(look.data.bin_start_ns, harm.onset_ns, side="right")) - 1
    before = look.count[harm.group, max(low - 30, 0) : max(low, 1)]
    return float(min(np.median(before), look.base.least[harm.group]))


def bad_rows(look: Look, group: int, sli: Sli, quantile: int) -> tuple[slice, Bool]:
    """The rows of a group and which of its requests are bad."""
    rows = slice(int(look.data.first[group]), int(look.data.first[group + 1]))
    if sli == "success":
        return rows, look.data.failed[rows]
    limit = look.usual.limit_ms[group, quantile] * look.usual.load[look.data.bin[rows]]
    return rows, look.data.duration_ms[rows] > limit


def usual_share(look: Look, group: int, sli: Sli, quantile: int) -> tuple[float, float]:
    """(usual share of bad requests, share from which on it is harm)."""
    if sli == "success":
        share = float(np.nan_to_num(look.usual.failed[group], nan=0.05))
        return share, float(harmful_share(share))
    share = float(np.nan_to_num(look.usual.beyond[group, quantile], nan=0.05))
    return share, max(MIN_SLOW_SHARE[quantile], 1.5 * share + 0.02)


def onset_of(look: Look, harm: Harm) -> int:
    """When a harm began: for requests the change point in order of their start, plus the usual median latency, as in
    the detector of whole incidents; a loss is dated by its counts."""
    if harm.sli == "throughput":
        return harm.onset_ns
    rows, bad = bad_rows(look, harm.group, harm.sli, harm.quantile)
    took = (look.data.duration_ms[rows] * 1e6).astype(np.int64)
    begun = look.data.time_ns[rows] - took
    inside = (look.data.time_ns[rows] >= harm.onset_ns - MERGE_NS) & (look.data.time_ns[rows] <= harm.end_ns)
    if not bad[inside].any():
        return harm.onset_ns
    order = np.argsort(begun[inside], kind="stable")
    share, _ = usual_share(look, harm.group, harm.sli, harm.quantile)
    begin, _ = sharpened(bad[inside][order].astype(np.float64), share)
    typical = look.usual.quantile_ms[harm.group, 0]
    late = int(min(typical, 5_000.0) * 1e6) if np.isfinite(typical) else 0
    return min(int(begun[inside][order][begin]) + late, harm.end_ns - 1)


def follow(look: Look, track: Track) -> None:
    """Whether a believed harm goes on, by its own requests: over after 4 good bins. That it is back again is for the
    search to say, which weighs chance over all looks."""
    if track.ended_ns is not None:
        return
    group = look.base.grouping.index.get(track.entity)
    hot, told = (None, None) if group is None else _hot_bins(look, track, group)
    if hot is None or told is None:
        if look.now_ns - track.last_bad_ns > IDLE_NS and track.sli != "throughput":
            track.ended_ns = track.last_bad_ns
        return
    places = np.flatnonzero(hot)
    good = told.copy()
    good[: int(places[-1]) + 1 if len(places) else 0] = False
    good &= look.data.bin_start_ns >= track.onset_ns
    if int(good.sum()) >= GOOD_BINS_TO_CLOSE:
        last = _last_bad(look, track, group, int(places[-1])) if len(places) else track.last_bad_ns
        track.ended_ns = track.last_bad_ns = max(last, track.onset_ns + 1)
    elif len(places):
        track.last_bad_ns = max(track.last_bad_ns, int(look.data.bin_start_ns[places[-1]]) + look.data.step_ns)


def _hot_bins(look: Look, track: Track, group: int) -> tuple[Bool | None, Bool | None]:
    """(bins that are bad, bins that tell), (b,) each; None where nothing tells."""
    if track.sli == "throughput":
        told = look.data.whole
        low = look.count[group] < RECOVERED * track.level
        # One good bin between bad ones is chance.
        near = np.convolve(low & told, np.ones(3), "same") >= 2
        return low & told & near, told
    rows, bad = bad_rows(look, group, track.sli, track.quantile)
    place = look.data.bin[rows]
    n = np.bincount(place, minlength=look.data.bins).astype(np.float64)
    k = np.bincount(place[bad], minlength=look.data.bins).astype(np.float64)
    usual, least = usual_share(look, group, track.sli, track.quantile)
    hot = np.zeros(look.data.bins, np.bool_)
    for width in (3, 12):
        count, hurt = _rolling(n, width), _rolling(k, width)
        bad_here = (hurt > STILL * least * np.maximum(count, 1.0)) & (binomial_p(hurt, count, usual) < STILL_P)
        hot |= bad_here & (k > 0)
    seen = _rolling(n, 12)
    if seen[-1] == 0:
        return None, None
    return hot, seen > 0


def _rolling(values: F64, width: int) -> F64:
    total = np.concatenate([np.zeros(width), np.cumsum(values)])
    return total[width:] - total[:-width]


def _last_bad(look: Look, track: Track, group: int | None, place: int) -> int:
    end = int(look.data.bin_start_ns[place]) + look.data.step_ns
    if track.sli == "throughput" or group is None:
        return end
    rows, bad = bad_rows(look, group, track.sli, track.quantile)
    times, places = look.data.time_ns[rows], look.data.bin[rows]
    # The change point: a request that fails by chance soon after is not the end.
    inside = (places <= place) & (places > place - SHARPEN_BINS) & (times >= track.onset_ns)
    if not bad[inside].any():
        return end
    share, _ = usual_share(look, group, track.sli, track.quantile)
    _, last = sharpened(bad[inside].astype(np.float64), share)
    return int(times[inside][last - 1]) + 1
