"""Agents of a language model: one for each component in doubt, all at once, then joined bottom-up to one answer.

Recursion of thought: every agent has a small context of its own and the tools of the investigation; verdicts are joined
level by level over the calls, and the reports of the entry points and all evidence go into one synthesis. The model
says where to look and what follows; whether evidence exists and how far it moves a belief is decided by code. What
several symptoms have in common is asked once. Source: RCLAgent v2 (arXiv 2605.14866), AMER-RCL (arXiv 2601.02732).
"""

from __future__ import annotations

from collections.abc import Generator

from aetia import plugins
from aetia.model.journal import Answer, ModelAnswer, ModelCall, ToolAnswer, ToolCall
from aetia.plugins import plugin
from aetia.reason import _llm_levels as joins
from aetia.reason import _llm_words as words
from aetia.reason._llm_agent import REPLY, NodeAgent, Verdict, Wanted
from aetia.reason._llm_board import Board
from aetia.reason._llm_brief import brief, in_doubt
from aetia.reason.models.wire import estimated
from aetia.reason.policy import Desk, Questions, Steps, key_of
from aetia.reason.way import Walk, examine_group, hurt, refute, trace, verify

ROUNDS = 5
"""Turns with tools of one agent."""
MOST_LEVELS = 6
"""Levels that a model joins; deeper chains are joined by evidence alone from there on."""
CONVINCED = 0.5
"""Belief of the leader from which on an abstention of the model does not count."""
KEPT_CALLS, KEPT_TOKENS = 4, 20_000
"""What is kept for the synthesis while agents work."""
LEADING = 3
"""Components about which the same is asked, whatever their agents asked."""
TOPOLOGY = "topology"
Looks = Generator[Questions, tuple[Answer, ...], None]


@plugin(
    "policy", needs=("model",), summary="agents of a language model for components in doubt, joined bottom-up",
    source="RCLAgent v2 (arXiv 2605.14866), AMER-RCL (arXiv 2601.02732)", cost="2 to 6 turns of a model per component",
)  # fmt: skip
class Llm:
    """Asks a model where the prior is in doubt; needs one to be configured."""

    def steps(self, desk: Desk) -> Steps:
        board, walk = Board(desk), Walk(hurt(desk))
        nodes = in_doubt(desk)
        if nodes:
            yield from _agents(nodes, board, walk)
        yield from _settle(board, walk)


def _agents(nodes: list[str], board: Board, walk: Walk) -> Looks:
    """What the model says of the components in doubt, weighed; where it says nothing the prior stands."""
    desk = board.desk
    yield from _survey(nodes[: max(desk.limits.max_calls // 5, 1)], board)
    tools = words.tools_offered()
    agents = [NodeAgent(node, brief(node, nodes, board), board, tools, ROUNDS) for node in nodes]
    yield from _examine(agents, board)
    ended = [agent.verdict for agent in agents if agent.verdict is not None]
    if not ended:
        return  # why is in the journal
    yield from _even_out(nodes, agents, board)
    joined = yield from _join(ended, board)
    walk.room = _calls_left(desk)
    yield from examine_group(desk, walk)
    board.catch_up()
    board.refuted = frozenset(refute(desk, walk))
    yield from _conclude(joined, board)


def _settle(board: Board, walk: Walk) -> Looks:
    """The path of the leader hop by hop, and the verdict on the final candidates together, both by observation."""
    desk = board.desk
    if desk.abstained or desk.prior.abstained is not None:
        return
    walk.room = _calls_left(desk)
    yield from examine_group(desk, walk)
    yield from trace(desk, walk)
    verify(desk, walk)


def _survey(nodes: list[str], board: Board) -> Looks:
    """Who calls whom around the components in doubt: seen by all agents, asked once."""
    if TOPOLOGY not in plugins.names("tool"):
        return
    calls = tuple(ToolCall(tool=TOPOLOGY, args={"service": node}, why="who depends on whom") for node in nodes)
    answers = yield calls
    for call, answer in zip(calls, answers, strict=True):
        if isinstance(answer, ToolAnswer) and answer.error is None:
            board.take(call, answer)


def _examine(agents: list[NodeAgent], board: Board) -> Looks:
    """All agents, turn by turn side by side, until each has its verdict or the rounds, calls, tokens or time are used
    up."""
    for turn in range(ROUNDS + 1):
        working = [agent for agent in agents if agent.open]
        closing = turn == ROUNDS or _calls_left(board.desk) < 3 * len(working) or not _time_for_more(board.desk)
        asked = _affordable(working, closing, board)
        if not asked:
            break
        answers = yield tuple(call for _, call in asked)
        wanted = [item for (agent, _), answer in zip(asked, answers, strict=True)
                  for item in agent.hear(_spoken(answer), closing=closing)]  # fmt: skip
        if wanted:
            yield from _look(wanted, board)
        if all(agent.failed is not None for agent, _ in asked):
            break  # a model that fails everywhere is not asked again
    for agent in agents:
        agent.close("what may be spent was used up")


def _affordable(working: list[NodeAgent], closing: bool, board: Board) -> list[tuple[NodeAgent, ModelCall]]:
    """The next turns of as many agents as calls, tokens and time allow; the least suspicious ones go without."""
    desk = board.desk
    tokens, calls = desk.limits.max_tokens - desk.spent.tokens - KEPT_TOKENS, _calls_left(desk)
    price, money = desk.limits.price, desk.left_cost
    money -= price.of(KEPT_TOKENS - 2 * REPLY, 2 * REPLY) if price is not None else 0.0
    most_s = _part(desk, "model node", (0 if closing else 1) + _after(desk), len(working))
    asked: list[tuple[NodeAgent, ModelCall]] = []
    if desk.left_s <= 0:
        return asked
    for agent in working:
        call = agent.call(closing=closing, most_s=most_s)
        tokens -= estimated(call) + REPLY
        money -= price.of(estimated(call), REPLY) if price is not None else 0.0
        if tokens < 0 or money < 0 or len(asked) >= calls:
            agent.close("what may be spent was used up")
            board.warn("budget", f"{agent.node} is not examined further: calls, tokens or money are short", agent.name)
            continue
        asked.append((agent, call))
    return asked


def _look(wanted: list[Wanted], board: Board) -> Looks:
    """Ask the tools what no agent asked before; the others are shown the answer that is there."""
    room = max(_calls_left(board.desk) - len({item.agent.name for item in wanted}), 0)
    fresh: dict[str, Wanted] = {}
    for item in wanted:
        if board.remembered(item.call) is None and len(fresh) < room:
            fresh.setdefault(key_of(item.call), item)
    if fresh:
        answers = yield tuple(item.call for item in fresh.values())
        for item, answer in zip(fresh.values(), answers, strict=True):
            if isinstance(answer, ToolAnswer):
                board.take(item.call, answer)
    for item in wanted:
        seen = board.remembered(item.call)
        if seen is None:
            item.agent.told(item, board.unaffordable())
        else:
            first = fresh.get(key_of(item.call)) is item
            item.agent.told(item, seen[1], None if first else seen[0])


def _even_out(nodes: list[str], agents: list[NodeAgent], board: Board) -> Looks:
    """Ask about every leading component what was asked about any of them: one whose agent did not look, or was misled,
    must not lose to one that was looked at. What this finds counts, cited or not."""
    leading, asked = nodes[:LEADING], dict[tuple[str, str], None]()
    for agent in agents:
        for call in board.asked_by(agent.name):
            name = next(iter(call.args), "")
            if call.tool != TOPOLOGY and len(call.args) == 1 and call.args[name] in leading:
                asked.setdefault((call.tool, name))
    same = "what was asked about one leading component is asked about all"
    calls = [ToolCall(tool=tool, args={name: node}, why=same) for tool, name in asked for node in leading]
    fresh = [call for call in calls if board.remembered(call) is None][: max(_calls_left(board.desk), 0)]
    if fresh:
        answers = yield tuple(fresh)
        for call, answer in zip(fresh, answers, strict=True):
            if isinstance(answer, ToolAnswer):
                board.take(call, answer)
    found = [board.remembered(call) for call in calls]
    board.even = tuple(item[1].evidence for item in found if item is not None and item[1].evidence is not None)


def _join(
    ended: list[Verdict], board: Board
) -> Generator[Questions, tuple[Answer, ...], dict[str, joins.Consolidated]]:
    """Weigh the evidence and consolidate the verdicts, level by level from below."""
    verdicts = {verdict.node: verdict for verdict in ended}
    joined: dict[str, joins.Consolidated] = {}
    for depth, level in enumerate(joins.levels(list(verdicts), board)):
        for node in level:
            board.weigh(board.counts(node, verdicts[node].evidence))
        below = {node: _below(node, joined, board) for node in level}
        open_ = [node for node in level if any(item.evidence for item in below[node])]
        desk = board.desk
        enough = _calls_left(desk) >= len(open_) and desk.pace.fits("model join", desk.left_s, 1 + _after(desk))
        said: dict[str, ModelAnswer] = {}
        if open_ and enough and depth <= MOST_LEVELS:
            said = yield from _consolidate(open_, verdicts, below, board)
        for node in level:
            joined[node] = (
                joins.consolidated(said[node], verdicts[node], below[node], board)
                if node in said else joins.without_model(verdicts[node], below[node], board)
            )  # fmt: skip
            board.weigh(joined[node].evidence)
    board.weigh(board.even)
    return joined


def _consolidate(
    nodes: list[str], verdicts: dict[str, Verdict], below: dict[str, list[joins.Consolidated]], board: Board
) -> Generator[Questions, tuple[Answer, ...], dict[str, ModelAnswer]]:
    """Ask where the fault began as seen from each of some components, with one turn to mend what cannot be read."""
    desk, said, asked = board.desk, dict[str, ModelAnswer](), nodes
    for last in (False, True):
        part = _part(desk, "model join", _after(desk), len(asked))
        calls = tuple(
            joins.consolidation(verdicts[node], below[node], board, part, said[node].text if last else None)
            for node in asked
        )
        answers = yield calls
        said |= {node: _spoken(answer) for node, answer in zip(asked, answers, strict=True)}
        asked = [node for node in asked if joins.unread(said[node], node, board)]
        if not asked or _calls_left(desk) < len(asked) or not _time_for_more(desk):
            break
    return said


def _below(node: str, joined: dict[str, joins.Consolidated], board: Board) -> list[joins.Consolidated]:
    return [joined[other] for other in sorted(board.calls.get(node, ())) if other in joined and other != node]


def _conclude(joined: dict[str, joins.Consolidated], board: Board) -> Looks:
    """The ranked answer, with one turn to mend it."""
    desk, problem, ranking = board.desk, None, joins.Ranking()
    for repairs in (1, 0):
        if desk.left_s <= 0:
            return
        part = _part(desk, "model synthesis", repairs + bool(desk.question))
        (answer,) = yield (joins.synthesis(joined, board, part, problem),)
        spoken = _spoken(answer)
        if spoken.error is not None:
            board.warn(f"model-{spoken.error.category}", spoken.error.message, "synthesis")
            return
        ranking = joins.read_ranking(spoken, board)
        if not ranking.problem:
            break
        problem = (spoken.text, ranking.problem)
    if ranking.abstain:
        _abstain(ranking.abstain, board)
        return
    for _, evidence, _ in ranking.ranked:
        board.weigh(evidence)
    leader = desk.ledger.ranked()[0]
    if ranking.ranked and not board.same_place(ranking.ranked[0][0], leader[0]):
        board.warn("RF-00", f"ranks {ranking.ranked[0][0]} first, and the evidence {leader[0]}", "synthesis")


def _abstain(reason: str, board: Board) -> None:
    """An abstention counts where the evidence convinces of nobody."""
    name, leader = board.desk.ledger.ranked()[0]
    if leader.belief < CONVINCED:
        board.desk.abstained = f"the evidence does not tell the candidates apart: {reason}"
    else:
        board.warn("needless-abstention", f"abstains although the evidence supports {name}: {reason}", "synthesis")


def _spoken(answer: Answer) -> ModelAnswer:
    return answer if isinstance(answer, ModelAnswer) else ModelAnswer()


def _calls_left(desk: Desk) -> int:
    return desk.limits.max_calls - desk.spent.calls - KEPT_CALLS


def _after(desk: Desk) -> int:
    """Turns of a model that have to follow the examination: the synthesis, and the answer to a question."""
    return 2 if desk.question else 1


def _time_for_more(desk: Desk) -> bool:
    """Whether one turn more of the agents leaves time for the one that ends their part and for what has to follow."""
    return desk.pace.fits("model node", desk.left_s, 2 + _after(desk))


def _part(desk: Desk, kind: str, later: int, at_once: int = 1) -> float:
    """Seconds for a turn after which so many others have to come."""
    return desk.pace.allotment(kind, desk.left_s, 1 + later, at_once)
