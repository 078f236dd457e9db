"""Properties of fingerprints and precedents: no names, no order, no raw text; bounded; nobody is outvoted."""

from __future__ import annotations

import random
import string

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from aetia.model import entity
from aetia.model.diagnosis import Claim, Diagnosis, Hop, Hypothesis, Incident, Query, SliBreach, make_evidence
from aetia.model.window import Window
from aetia.reason.fingerprints import Fingerprint, fingerprint, likeness, quoted, shape, symptoms, template
from aetia.reason.precedents import (
    DAY_NS,
    OLDEST_DAYS,
    Fix,
    Memory,
    Provenance,
    Question,
    Situation,
    Vouched,
    expired,
    remind,
    voices,
)

NAMES = ("amber", "birch", "cedar", "dahlia", "elder", "fern", "gorse", "hazel")
NEW_NAMES = st.lists(
    st.text(string.ascii_lowercase, min_size=9, max_size=14).filter(lambda name: name != "exception"),
    min_size=len(NAMES), max_size=len(NAMES), unique=True,
)  # fmt: skip
EDGES = st.lists(st.tuples(st.sampled_from(range(8)), st.sampled_from(range(8))), max_size=12)
TOKENS = st.frozensets(
    st.tuples(st.sampled_from(["template", "own", "seen", "sli", "shape", "fault"]), st.sampled_from("abcdef")).map(":".join),
    max_size=12,
)  # fmt: skip
START = 1_700_000_000_000_000_000


def diagnosis_of(
    names: list[str] | tuple[str, ...], edges: list[tuple[int, int]], *, what: str = "error share"
) -> Diagnosis:
    """The first name is the root, the last the entry point that was hurt."""
    item = make_evidence(
        about=entity.service(names[0]), polarity="for", strength=0.9,
        claim=Claim(what=what, direction="up", magnitude=0.5, unit="share", text=f"{names[0]} fails"),
        query=Query(channel="log_novelty", args={"template": f"cannot reach {names[0]} (7 of 9): TimeoutError at 0x7f"}),
        result={"incident": 1.0},
    )  # fmt: skip
    hurt = SliBreach(
        entry=entity.operation(names[-1], "GET /"), sli="success", statistic="share", baseline=0.99, incident=0.4,
        onset_ns=START, p_value=0.0, requests=10, affected=6,
    )  # fmt: skip
    window = Window(START, START + 10**9)
    return Diagnosis(
        localizer="x", source=("here",), incident=Incident(baseline=window, window=window, onset_ns=START, breaches=(hurt,)),
        hypotheses=(Hypothesis(entity=entity.service(names[0]), score=1.0, fault_class="C", fault="exception",
                               evidence=(item.id,), verdict="verified"),),
        evidence=(item,),
        propagation=tuple(Hop(source=names[a], target=names[b], relation="called by") for a, b in edges),
    )  # fmt: skip


def mark_of(found: Diagnosis) -> Fingerprint:
    return fingerprint(found, found.hypotheses[0])


@given(names=NEW_NAMES, edges=EDGES, seed=st.integers(0, 99))
def test_a_fingerprint_knows_neither_names_nor_the_order_of_hops(
    names: list[str], edges: list[tuple[int, int]], seed: int
) -> None:
    shuffled = random.Random(seed).sample(edges, len(edges))
    assert mark_of(diagnosis_of(NAMES, edges)) == mark_of(diagnosis_of(names, shuffled))
    said = " ".join(mark_of(diagnosis_of(names, edges)).tokens)
    assert not any(name in said for name in names)


def test_a_component_that_is_called_like_a_fault_hides_no_fault() -> None:
    odd = ["exception", *NAMES[1:]]
    assert mark_of(diagnosis_of(odd, [(0, 1)])) == mark_of(diagnosis_of(NAMES, [(0, 1)]))


def test_the_shape_tells_a_chain_from_a_fan_and_its_direction() -> None:
    root, hurt = entity.service("a"), {"d"}
    paths = {
        "chain": [("a", "b"), ("b", "d")], "fan": [("a", "b"), ("a", "d")], "short": [("a", "d")], "none": [],
        "elsewhere": [("d", "b"), ("b", "a")],
    }  # fmt: skip
    shapes = {
        shape([Hop(source=a, target=b, relation="called by") for a, b in path], root, hurt) for path in paths.values()
    }
    hosts = shape([Hop(source="a", target="d", relation="hosts")], root, hurt)
    assert len(shapes | {hosts}) == len(paths) + 1
    seen = shape([Hop(source="a", target="d", relation="observed")], root, hurt)
    assert seen == shape([Hop(source="a", target="d", relation="called by")], root, hurt)


@given(one=TOKENS, other=TOKENS)
def test_likeness_is_symmetric_bounded_and_one_only_for_equals(one: frozenset[str], other: frozenset[str]) -> None:
    value = likeness(one, other)
    assert value == likeness(other, one) and 0.0 <= value <= 1.0
    assert (value == 1.0) == (one == other and bool(one))


@given(number=st.integers(0, 10**12), uuid=st.uuids(), name=st.sampled_from(NAMES))
def test_a_template_is_the_same_whatever_number_id_and_name_are_in_it(number: int, uuid: object, name: str) -> None:
    text = f"Order {number} of {uuid} failed at {name}-service after {number}.5 s, asking {name}"
    assert template(text, [f"{name}-service", name]) == "order <*> of <*> failed at <name> after <*> s, asking <name>"


@given(text=st.text(), limit=st.integers(1, 200))
def test_a_quote_is_one_printable_line_of_bounded_length(text: str, limit: int) -> None:
    said = quoted(text, limit)
    assert len(said) <= limit and said == " ".join(said.split()) and "\x1b" not in said and quoted(said, limit) == said


def memory_of(
    name: str = "amber", number: int = 0, *, source: str = "a", vouched: Vouched = "checks", days: float = 1.0,
    fault_class: str = "C", fixes: tuple[Fix, ...] = (), **situation: object,
) -> Memory:  # fmt: skip
    mark = mark_of(diagnosis_of(NAMES, [(0, 7)]))
    return Memory(
        id=f"M{name}{number:03}{source}", incident=f"{name} {number} {source}", component=name, fault_class=fault_class,
        fault=None, summary="", provenance=Provenance(journal="j", source=source, vouched=vouched),
        fingerprint=msgspec.structs.replace(mark, fault_class=fault_class), happened_ns=START - int(days * DAY_NS),
        remembered_ns=START, situation=Situation(**{"system": "shop", **situation}), fixes=fixes,
    )  # type: ignore[arg-type]  # fmt: skip


def question_of(**situation: object) -> Question:
    mark = msgspec.structs.replace(mark_of(diagnosis_of(NAMES, [(0, 7)])), fault_class=None)
    held = Situation(**{"system": "shop", **situation})  # type: ignore[arg-type]
    return Question(fingerprint=mark, incident="now", component="amber", at_ns=START, situation=held)


MANY = st.lists(
    st.builds(
        memory_of, st.sampled_from(NAMES[:3]), st.integers(0, 5), source=st.sampled_from("abc"),
        vouched=st.sampled_from(["person", "checks", "nobody"]), days=st.floats(0.0, 500.0),
        fault_class=st.sampled_from("CD"),
    ),
    max_size=8, unique_by=lambda memory: memory.id,
)  # fmt: skip


@given(memories=MANY, forged=st.integers(1, 30))
@settings(deadline=None)
def test_what_nobody_vouches_for_changes_nothing_however_much_there_is(memories: list[Memory], forged: int) -> None:
    flood = [memory_of("hazel", number, source=f"evil {number}", vouched="nobody") for number in range(forged)]
    before = {item.memory.id: item.weight for item in remind(question_of(), memories)}
    after = {item.memory.id: item.weight for item in remind(question_of(), [*memories, *flood])}
    assert {key: after[key] for key in before} == before and not any(after[item.id] for item in flood)


@given(copies=st.integers(1, 40))
@settings(deadline=None)
def test_one_source_has_one_voice_however_often_it_speaks(copies: int) -> None:
    honest = [memory_of("amber", 1, source="shop A"), memory_of("amber", 2, source="shop B")]
    loud = [memory_of("hazel", number, source="loud") for number in range(copies)]
    told = voices(remind(question_of(), [*honest, *loud]))
    once = voices(remind(question_of(), [*honest, loud[0]]))
    assert told == once and told["amber", "C"] > told["hazel", "C"]


def test_a_flood_of_one_voice_neither_drowns_another_nor_takes_time() -> None:
    flood = [memory_of("hazel", number, source="loud") for number in range(3000)]
    quiet = memory_of("amber", 1, source="quiet", days=200.0)
    found = remind(question_of(), [*flood, quiet])
    assert quiet in [item.memory for item in found] and len(found) <= 10


@given(memories=MANY)
@settings(deadline=None)
def test_weights_are_bounded_and_do_not_depend_on_the_order(memories: list[Memory]) -> None:
    found = remind(question_of(), memories)
    assert found == remind(question_of(), memories[::-1])
    assert all(0.0 <= item.weight <= item.likeness <= 1.0 for item in found)
    assert all(0.0 < value <= 1.0 for value in voices(found).values())


def test_two_causes_of_the_same_symptoms_are_both_shown_and_lower_each_other() -> None:
    one, other = memory_of("amber"), memory_of("birch", source="b")
    alone = remind(question_of(), [one])[0].weight
    both = remind(question_of(), [one, other])
    assert [item.memory for item in both] == [one, other]
    assert all(0.0 < item.weight < alone for item in both)
    assert both[0].contradicted_by == (other.id,) and both[1].contradicted_by == (one.id,)
    assert any(other.id in words for words in both[0].why)
    agreeing = remind(question_of(), [one, memory_of("amber", 2, source="b")])
    assert agreeing[0].weight == alone


@given(younger=st.floats(0.0, 360.0), older=st.floats(0.0, 360.0))
def test_a_memory_fades_with_age_until_it_expires(younger: float, older: float) -> None:
    younger, older = sorted((younger, older))
    weights = [remind(question_of(), [memory_of(days=days)])[0].weight for days in (younger, older)]
    assert weights[0] >= weights[1] > 0.0
    assert remind(question_of(), [memory_of(days=OLDEST_DAYS + 1)])[0].weight == 0.0


def test_another_version_or_place_expires_a_memory_of_the_same_system_alone() -> None:
    old = memory_of(versions={"amber": "1", "birch": "1"}, neighbours={"amber": ("calls birch", "calls cedar")})
    cases = {
        "was version 1 then and is 2 now": {"versions": {"amber": "2"}},
        "no longer there": {"neighbours": {"birch": ()}},
        "neighbours of amber are others": {"neighbours": {"amber": ("calls fern", "calls gorse", "calls birch")}},
    }
    for words, now in cases.items():
        assert words in expired(old, START, question_of(**now).situation)
        assert expired(old, START, question_of(**now, system="another").situation) == ""
        assert remind(question_of(**now), [old])[0].weight == 0.0
    same = remind(question_of(versions={"amber": "1"}), [old])[0].weight
    beside = remind(question_of(versions={"amber": "1", "birch": "2"}), [old])[0].weight
    nearly = remind(question_of(neighbours={"amber": ("calls birch", "calls cedar", "calls fern")}), [old])[0].weight
    elsewhere = remind(question_of(system="another"), [old])[0].weight
    assert all(0.0 < weight < same for weight in (beside, nearly, elsewhere))


def test_incidents_of_another_role_or_class_are_no_reminder() -> None:
    asked = question_of()
    asked = msgspec.structs.replace(asked, fingerprint=msgspec.structs.replace(asked.fingerprint, fault_class="C"))
    host = memory_of()
    host = msgspec.structs.replace(host, fingerprint=msgspec.structs.replace(host.fingerprint, role="host"))
    assert remind(asked, [memory_of(fault_class="D"), host]) == []
    assert len(remind(asked, [memory_of()])) == 1


def test_symptoms_do_not_depend_on_whom_the_diagnosis_blamed() -> None:
    found = diagnosis_of(NAMES, [(0, 7)])
    other = Hypothesis(entity=entity.node("fern"), score=0.1, fault_class="B")
    assert symptoms(mark_of(found)) == symptoms(fingerprint(found, other))
    assert "thrown:timeouterror" in symptoms(mark_of(found))


def test_a_failed_fix_lowers_and_a_working_one_restores() -> None:
    def weight(*worked: bool) -> float:
        fixes = tuple(Fix(action="restart", worked=value, at_ns=0) for value in worked)
        return remind(question_of(), [memory_of(fixes=fixes)])[0].weight

    assert weight() == weight(False, True) == weight(True) > weight(False) > 0.0
