"""Who works on missed customers."""

from __future__ import annotations

from dataclasses import dataclass

from callkpi.config import Role


@dataclass
class Supervisor:
    name: str
    role: Role = Role.SUPERVISOR


ANNA, BORIS = Supervisor("anna"), Supervisor("boris")
