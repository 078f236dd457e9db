"""Which earlier incidents `aetia diagnose --policy` and `aetia ask` are reminded of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from aetia.reason.memory import IncidentMemory


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """Which earlier incidents are remembered.

    Parameters
    ----------
    no_memory:
        Leave out the memory of incidents. Otherwise the one that `aetia memory` shows is read, where there is one.
    system:
        Name of the system, as for `aetia memory remember`: its own incidents count in full.
    """

    no_memory: Annotated[bool, Parameter(negative=())] = False
    system: str = ""

    def memory(self) -> IncidentMemory | None:
        """The memory of who asks; reading never creates it."""
        from aetia.reason.memory import IncidentMemory

        return None if self.no_memory else IncidentMemory()
