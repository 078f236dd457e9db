"""Who is asked about a case: a localizer alone, or a policy that investigates what the localizer said."""

from __future__ import annotations

from typing import NamedTuple


class Method(NamedTuple):
    """A localizer, the policy on top of it (None: none), and the number of the repeat."""

    localizer: str
    policy: str | None = None
    repeat: int = 0

    @property
    def text(self) -> str:
        """The method as one word, by which the runner and its workers name it."""
        return self.localizer if self.policy is None else f"{self.localizer}+{self.policy}#{self.repeat}"


def parse_method(text: str) -> Method:
    """The method that `Method.text` wrote."""
    localizer, plus, rest = text.partition("+")
    if not plus:
        return Method(localizer)
    policy, _, repeat = rest.rpartition("#")
    return Method(localizer, policy, int(repeat))


def methods(localizers: tuple[str, ...], policies: tuple[str, ...], repeats: int) -> tuple[Method, ...]:
    """Every localizer, and each followed by the policies on top of it with their repeats."""
    found: list[Method] = []
    for name in localizers:
        found.append(Method(name))
        found += [Method(name, policy, repeat) for policy in policies for repeat in range(repeats)]
    return tuple(found)
