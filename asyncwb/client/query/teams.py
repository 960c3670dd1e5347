"""Teams and their members.

Source: https://docs.wandb.ai/ref/python/public-api/team.
"""

from __future__ import annotations

from asyncwb.client.query.attributes import Attributes
from asyncwb.client.query.requests.query import Asker, Connection
from asyncwb.client.waiting import wait_async
from asyncwb.errors import CommError, NotFoundError
from asyncwb.typing import JsonObject
from asyncwb.wire import query_documents


class AsyncMember(Attributes):
    """A member of a team: `name`, `username`, `email`, `admin`, `account_type`, `pending`."""

    def __init__(self, client: Connection, team: str, attrs: JsonObject) -> None:
        super().__init__(attrs)
        self._client = client
        self.team = team

    async def delete(self) -> bool:
        """Take the member out of the team; False where the server refuses."""
        ask = self._client.ask(
            query_documents.DELETE_INVITE, id=self._attrs["id"], entity=self.team
        )
        try:
            data = await wait_async(ask)
        except CommError as error:
            if error.status is None:  # nobody refused: nobody answered
                raise
            return False
        return bool((data.get("deleteInvite") or {}).get("success"))

    def __repr__(self) -> str:
        return f"<Member {self._attrs.get('name')} ({self._attrs.get('accountType')})>"


class AsyncTeam(Attributes):
    """A team: an entity with members. Made by `AsyncApi.team()` and `create_team()`.

    Args:
        client: the server.
        name: the team's name.
        attrs: its fields, where they were loaded already.
    """

    def __init__(self, client: Connection, name: str, attrs: JsonObject | None = None) -> None:
        super().__init__(attrs or {})
        self._client = client
        self.name = name

    @classmethod
    async def create(cls, api: Asker, team: str, admin_username: str | None = None) -> AsyncTeam:
        """Make a team.

        Args:
            api: whose key makes it.
            team: the team's name.
            admin_username: who administers it; left out, whose key it is.

        Raises:
            CommError: the server refuses, or the name is taken.
        """
        ask = api.client.ask(query_documents.CREATE_TEAM, team=team, admin=admin_username)
        await wait_async(ask)
        made = cls(api.client, team)
        await made.load()
        return made

    async def load(self, force: bool = False) -> JsonObject:
        """Load the team's fields and members, with `force` anew; returns the fields.

        Raises:
            NotFoundError: there is no such team, or the key may not see it.
        """
        if force or not self._attrs:
            data = await wait_async(self._client.ask(query_documents.TEAM, name=self.name))
            entity = data.get("entity")
            if entity is None:
                raise NotFoundError(
                    f"Could not find team {self.name}: the server has no such team, or the key "
                    "may not see it",
                    404,
                    "team_not_found",
                )
            found = entity.get("members") or []
            members = [AsyncMember(self._client, self.name, member) for member in found]
            self._attrs = {**entity, "members": members}
        return self._attrs

    @property
    def members(self) -> list[AsyncMember]:
        """The team's members, as they were loaded last."""
        members: list[AsyncMember] = self._attrs.get("members", [])
        return members

    async def invite(self, username_or_email: str, admin: bool = False) -> bool:
        """Invite somebody to the team; False where the server refuses.

        Args:
            username_or_email: who; an "@" makes it an address.
            admin: whether the new member administers the team.
        """
        kind = "email" if "@" in username_or_email else "username"
        who = {kind: username_or_email}
        ask = self._client.ask(query_documents.CREATE_INVITE, entity=self.name, admin=admin, **who)
        try:
            await wait_async(ask)
        except CommError as error:
            if error.status is None:  # nobody refused: nobody answered
                raise
            return False
        return True

    async def create_service_account(self, description: str) -> AsyncMember | None:
        """Make an account for machines that log to the team; None where the server refuses.

        Args:
            description: what it is for.
        """
        ask = self._client.ask(
            query_documents.CREATE_SERVICE_ACCOUNT, entity=self.name, description=description
        )
        try:
            data = await wait_async(ask)
        except CommError as error:
            if error.status is None:  # nobody refused: nobody answered
                raise
            return None
        await self.load(force=True)
        made = ((data.get("createServiceAccount") or {}).get("user") or {}).get("id")
        found = [member for member in self.members if member.id == made]
        return next(iter(found), self.members[-1] if self.members else None)

    def __repr__(self) -> str:
        return f"<Team {self.name}>"
