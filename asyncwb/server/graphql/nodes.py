"""What several subjects point to, fetched for a whole list at once: users, entities, projects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from asyncwb.server.graphql.execution.context import Context
from asyncwb.server.store.people.teams import Entity
from asyncwb.server.store.people.users import User
from asyncwb.server.store.runs.projects import StoredProject


@dataclass(frozen=True, slots=True)
class NamedEntity:
    """An entity by its name: nothing is read for who only wants that."""

    name: str


async def user_of(context: Context, user_id: int | None) -> User | None:
    """Return the user of that id; one statement for all whom a list asks for."""
    return None if user_id is None else await context.batch(_users, user_id)


async def entity_of(context: Context, name: str) -> Entity | None:
    """Return the entity of that name; one statement for all whom a list asks for."""
    return await context.batch(_entities, name)


async def project_of(context: Context, project_id: int) -> StoredProject | None:
    """Return the project of that id; one statement for all that a list asks for.

    Whether the user may see it is the caller's to ask.
    """
    return await context.batch(_projects, project_id)


async def _users(context: Context, ids: list[int]) -> Mapping[int, User]:
    return await context.state.users.some(ids)


async def _entities(context: Context, names: list[str]) -> Mapping[str, Entity]:
    return await context.state.teams.some(names)


async def _projects(context: Context, ids: list[int]) -> Mapping[int, StoredProject]:
    return await context.state.projects.some(ids)
