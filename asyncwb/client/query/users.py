"""People with an account: who they are, and their API keys.

Source: https://docs.wandb.ai/ref/python/public-api/user.
"""

from __future__ import annotations

from typing import Any

from asyncwb.client.query.attributes import Attributes
from asyncwb.client.query.requests.query import Asker, Connection
from asyncwb.client.waiting import wait_async
from asyncwb.errors import ArgumentError, CommError
from asyncwb.typing import JsonObject
from asyncwb.wire import query_documents


class AsyncUser(Attributes):
    """An account. Made by `AsyncApi.viewer`, `user()`, `users()` and `create_user()`.

    `username`, `name`, `email`, `admin` and `entity` (who owns the runs that name no other owner)
    are attributes, as is every other field that the server sends.

    Args:
        client: the server.
        attrs: the fields.
        user_api: an Api with this account's own key, where there is one.
    """

    def __init__(self, client: Connection, attrs: JsonObject, user_api: Any | None = None) -> None:
        super().__init__(attrs)
        self._client = client
        self._user_api = user_api

    @classmethod
    async def create(cls, api: Asker, email: str, admin: bool | None = False) -> AsyncUser:
        """Make an account; only an admin of the server may.

        Args:
            api: whose key makes it.
            email: the address of the person.
            admin: whether the account administers the server.

        Raises:
            CommError: the server refuses, or there is such an account.
        """
        data = await wait_async(
            api.client.ask(query_documents.CREATE_USER, email=email, admin=bool(admin))
        )
        made = (data.get("createUser") or {}).get("user")
        if not made:
            raise CommError(f"the server made no account for {email!r} and does not say why", 200)
        return cls(api.client, made)

    @property
    def user_api(self) -> Any | None:
        """An Api with this account's own key; None where the key is not known here."""
        return self._user_api

    @property
    def api_keys(self) -> list[str]:
        """The names of the account's API keys, which are no keys themselves."""
        return [edge["node"]["name"] for edge in self._keys()]

    @property
    def teams(self) -> list[str]:
        """The names of the teams that the account is a member of."""
        return [edge["node"]["name"] for edge in (self._attrs.get("teams") or {}).get("edges", [])]

    async def generate_api_key(self, description: str | None = None) -> str | None:
        """Make a new API key for the account that asks; returns the key itself, shown this once.

        None where the server refuses.

        Args:
            description: what the key is for.
        """
        try:
            data = await wait_async(
                self._client.ask(query_documents.GENERATE_API_KEY, description=description)
            )
        except CommError as error:
            if error.status is None:  # nobody refused: nobody answered
                raise
            return None
        key = (data.get("generateApiKey") or {}).get("apiKey") or {}
        if key.get("name"):
            self._attrs.setdefault("apiKeys", {}).setdefault("edges", []).append({"node": key})
        return key.get("name")

    async def delete_api_key(self, api_key: str) -> bool:
        """Revoke one of the account's keys; False where the server refuses.

        Args:
            api_key: the key's name, one of `api_keys`.

        Raises:
            ValueError: the account has no key of that name.
        """
        found = [edge for edge in self._keys() if edge["node"]["name"] == api_key]
        if not found:
            raise ArgumentError(
                f"{self!r} has no API key of that name; its keys are {self.api_keys}"
            )
        try:
            data = await wait_async(
                self._client.ask(query_documents.DELETE_API_KEY, id=found[0]["node"]["id"])
            )
        except CommError as error:
            if error.status is None:  # nobody refused: nobody answered
                raise
            return False
        deleted = bool((data.get("deleteApiKey") or {}).get("success"))
        if deleted:
            self._keys().remove(found[0])
        return deleted

    def _keys(self) -> list[JsonObject]:
        keys: list[JsonObject] = (self._attrs.get("apiKeys") or {}).get("edges", [])
        return keys

    def __repr__(self) -> str:
        shown = next(filter(None, map(self._attrs.get, ("email", "username", "id", "name"))), "?")
        return f"<User {shown}>"
