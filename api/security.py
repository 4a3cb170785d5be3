"""Who asks, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api.services import Given, Services
from core.errors import NotFound, RateLimited, ScopeMissing, Unauthenticated
from core.vocabulary import Scope
from db import keys
from db.keys import KeyRecord

_bearer = HTTPBearer(
    auto_error=False,
    scheme_name="apiKey",
    description="A key made by `deepsweep keys create`, sent as `Authorization: Bearer dsk_...`. "
    "Each operation says which scope the key must have; `admin` includes all others.",
)
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


@dataclass(frozen=True, kw_only=True)
class Caller:
    """The key that came with a request."""

    key: KeyRecord

    @property
    def id(self) -> int:
        """Row of the key."""
        return self.key.id

    @property
    def is_admin(self) -> bool:
        """Whether it may do everything, with everyone's scans."""
        return Scope.ADMIN in self.key.scopes

    @property
    def sees_only(self) -> int | None:
        """The key whose scans it sees; None for all."""
        return None if self.is_admin else self.key.id

    def check_owner(self, owner_id: int | None, sentence: str) -> None:
        """Raise NotFound for what belongs to another key: that it exists is not said either."""
        if not self.is_admin and owner_id != self.key.id:
            raise NotFound(sentence)


def check_form(token: str | None) -> str:
    """What can be a key at all, by its form and checksum: nothing else reaches the database.

    Raises Unauthenticated.
    """
    if token is None:
        raise Unauthenticated("Send an API key as `Authorization: Bearer dsk_...`.")
    if not keys.is_well_formed(token):
        raise Unauthenticated("This is not an API key; keys look like dsk_<prefix>_<secret>.")
    return token


def bearer_of(header: str | None) -> str | None:
    """The token of an Authorization header."""
    scheme, _, token = (header or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token else None


def authenticate(services: Services, token: str | None, client: str) -> Caller:
    """The caller behind a bearer token. Raises Unauthenticated, RateLimited."""
    token = check_form(token)
    wait_s = services.guesses.wait_s(client, token)
    if wait_s:
        raise RateLimited("Too many unknown keys came from this address.", retry_after_s=wait_s)
    with services.database.transaction() as session:
        key = keys.authenticate(session, token)
    if key is None:
        services.guesses.wrong(client)
        raise Unauthenticated("This API key is unknown, revoked or past its time.")
    services.guesses.right(token)
    count(services, key)
    return Caller(key=key)


def count(services: Services, key: KeyRecord) -> None:
    """Raise RateLimited where the key has asked too often; up to a minute's worth at once."""
    share = key.requests_per_minute / services.settings.api_processes
    wait_s = services.rates.take(key.id, per_minute=share, burst=max(1.0, share))
    if wait_s:
        raise RateLimited(
            f"This key may ask {key.requests_per_minute} times a minute.", retry_after_s=wait_s
        )


class Needs:
    """The dependency of a route that only keys with a scope may use."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    def __call__(self, request: Request, services: Given, credentials: Credentials) -> Caller:
        """The caller. Raises Unauthenticated, RateLimited, ScopeMissing."""
        token = credentials.credentials if credentials else None
        caller = authenticate(services, token, client_of(request))
        request.scope["deepsweep.key"] = caller.key.prefix
        if not caller.key.scopes & {self.scope, Scope.ADMIN}:
            raise ScopeMissing(f"This needs a key with the scope `{self.scope}`.")
        return caller


def client_of(request: Request) -> str:
    """The address that asks; behind a proxy, what uvicorn takes from its headers."""
    return request.client.host if request.client else "unknown"


#: For the signatures of routes.
Reader = Annotated[Caller, Depends(Needs(Scope.READ))]
Scanner = Annotated[Caller, Depends(Needs(Scope.SCAN))]
