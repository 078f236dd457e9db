"""The scripted model of `aetia.lab.scripted`, with the roles that know the incident of these tests."""

from __future__ import annotations

from aetia.lab.scripted.roles import (
    ROLES,
    about,
    asked_for,
    document,
    dropping,
    engineer,
    finish,
    gives_up,
    invents_evidence,
    invents_services,
    limited,
    looks,
    looper,
    malformed,
    obedient,
    offered,
    rank,
    refusing,
    seen,
    slandering,
    slow,
    strongest,
    truncated,
    wrong_tools,
)
from aetia.lab.scripted.server import Request, Role, Scripted, Turn

__all__ = [
    "ROLES",
    "Request",
    "Role",
    "Scripted",
    "Turn",
    "about",
    "asked_for",
    "chatterbox",
    "document",
    "dropping",
    "engineer",
    "finish",
    "gives_up",
    "invents_evidence",
    "invents_services",
    "limited",
    "looks",
    "looper",
    "malformed",
    "nosy",
    "obedient",
    "offered",
    "rank",
    "refusing",
    "seen",
    "slandering",
    "slow",
    "strongest",
    "truncated",
    "wrong_tools",
]


def chatterbox(request: Request, number: int) -> Turn:
    """Talks at length in every turn and asks for everything, about a different component each time."""
    if asked_for(request) != "examine":
        return Turn("words " * 3000)
    if len(offered(request)) <= 2:
        return Turn("words " * 3000, calls=finish(verdict="healthy", reason="words " * 500))
    others = ["carrier", "note", "point", "plan", "gift", "freight", "auction", "content"]
    asked = [call for name in others[number % 8 :] + others for call in looks(request, name)]
    return Turn("words " * 3000, calls=asked[number % 20 : number % 20 + 8])


def nosy(request: Request, number: int) -> Turn:
    """Every agent asks about the same component before it looks at its own."""
    if asked_for(request) == "examine" and len(offered(request)) > 2:
        turns = sum(message["role"] == "assistant" for message in request["messages"])
        if turns == 0:
            return Turn(calls=looks(request, "carrier"))
        if turns == 1 and document(request)["component"] != "carrier":
            return Turn(calls=looks(request, document(request)["component"]))
    return engineer(request, number)
