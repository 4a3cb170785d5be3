"""Sessions of the pages: an API key exchanged for a cookie, and what protects the cookie.

A page cannot keep a key safe, a browser can keep a cookie safe: HttpOnly, so that no script reads
it; SameSite=Strict, so that no other site's page sends it along; Secure wherever the page came
encrypted. What changes anything needs the page's token on top, which is derived from the cookie and
stands in the page: another site can have a browser send the cookie at most, and never read a page.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import parse_qsl, urlsplit

from fastapi import Depends, Request, Response

from api import security
from api.security import Caller
from api.services import Given, Services
from core.errors import CrossSite, RateLimited, ScopeMissing, Unauthenticated
from core.vocabulary import Scope
from db import review_queue, sign_ins
from db.review_queue import Reviewer
from db.sign_ins import SignedIn

#: Browsers take a cookie of the first name only encrypted, from this host, for all of its paths.
_SECURE_NAME, _PLAIN_NAME = "__Host-deepsweep", "deepsweep"
CSRF_HEADER = "X-CSRF-Token"
#: Name of the hidden field of forms with the page's token.
CSRF_FIELD = "csrf"
_READING = ("GET", "HEAD")
_MAX_FIELDS = 20


@dataclass(frozen=True, kw_only=True)
class Visitor:
    """Somebody who is signed in."""

    signed_in: SignedIn
    #: The page's token.
    csrf: str

    @property
    def caller(self) -> Caller:
        """As routes of the API know him."""
        return Caller(key=self.signed_in.key)

    @property
    def reviewer(self) -> Reviewer:
        """As the review queue knows him."""
        return Reviewer(id=self.signed_in.key.id, name=self.signed_in.key.name)

    def may(self, scope: Scope) -> bool:
        """Whether the key has a scope; `admin` includes all others."""
        return bool(self.signed_in.key.scopes & {scope, Scope.ADMIN})

    def check(self, scope: Scope) -> None:
        """Raise ScopeMissing where it has not."""
        if not self.may(scope):
            raise ScopeMissing(f"This needs a key with the scope `{scope}`.")

    def check_token(self, token: str | None) -> None:
        """Raise CrossSite for what does not come from a page of this session."""
        if not hmac.compare_digest((token or "").encode(), self.csrf.encode()):
            raise CrossSite("This did not come from a page of this session; load the page anew.")


# --- dependencies -------------------------------------------------------------------------------


def guest(request: Request, services: Given) -> Visitor | None:
    """Whoever asks for a page; None where nobody is signed in. Raises RateLimited."""
    token = request.cookies.get(cookie_name(request))
    if not token:
        return None
    with services.database.transaction() as session:
        signed_in = sign_ins.find(session, token)
    if signed_in is None:
        return None
    security.count(services, signed_in.key)
    request.scope["deepsweep.key"] = signed_in.key.prefix
    return Visitor(signed_in=signed_in, csrf=_page_token(token))


Guest = Annotated[Visitor | None, Depends(guest)]


def viewing(request: Request, services: Given) -> SignedIn:
    """Whose browser asks for what a link of his page leads to; not counted, as pages need many.

    Raises Unauthenticated, ScopeMissing.
    """
    token = request.cookies.get(cookie_name(request), "")
    with services.database.transaction() as session:
        signed_in = sign_ins.find(session, token)
    if signed_in is None:
        raise Unauthenticated("Your session has ended; sign in again.")
    Visitor(signed_in=signed_in, csrf="").check(Scope.REVIEW)
    return signed_in


#: For the signatures of routes that elements of pages ask.
Viewing = Annotated[SignedIn, Depends(viewing)]


def reviewing(request: Request, visitor: Guest) -> Visitor:
    """Who reviews, by script. Raises Unauthenticated, ScopeMissing, CrossSite, RateLimited."""
    if visitor is None:
        raise Unauthenticated("Your session has ended; sign in again.")
    if request.method not in _READING:
        visitor.check_token(request.headers.get(CSRF_HEADER))
    visitor.check(Scope.REVIEW)
    return visitor


#: For the signatures of routes that scripts of pages ask.
Reviewing = Annotated[Visitor, Depends(reviewing)]


async def form(request: Request) -> dict[str, str]:
    """The fields of a form, the last of each name; empty for what is none."""
    body = (await request.body()).decode("utf-8", "replace")
    try:
        return dict(parse_qsl(body, max_num_fields=_MAX_FIELDS))
    except ValueError:
        return {}


Form = Annotated[dict[str, str], Depends(form)]


# --- signing in and out -------------------------------------------------------------------------


def sign_in(request: Request, services: Services, key: str) -> str:
    """Exchange a key for a cookie's value.

    Raises Unauthenticated, ScopeMissing, RateLimited, CrossSite.
    """
    _check_origin(request)
    client = security.client_of(request)
    wait_s = services.sign_ins.wait_s(client, key)
    if wait_s:
        raise RateLimited(
            f"Too many keys were wrong; wait {wait_s:.0f} seconds.", retry_after_s=wait_s
        )
    try:
        caller = security.authenticate(services, key, client)
        if not caller.key.scopes & {Scope.REVIEW, Scope.ADMIN}:
            raise ScopeMissing("This key may not review: it lacks the scope `review`.")
    except (Unauthenticated, ScopeMissing):
        services.sign_ins.wrong(client)
        raise
    services.sign_ins.right(key)
    with services.database.transaction() as session:
        return sign_ins.start(session, caller.key)


def sign_out(services: Services, visitor: Visitor) -> None:
    """End the session; what the reviewer holds goes back to the queue."""
    with services.database.transaction() as session:
        review_queue.release(session, visitor.reviewer)
        sign_ins.end(session, visitor.signed_in)


def set_cookie(request: Request, response: Response, token: str) -> None:
    """Have the browser keep the cookie for as long as it works."""
    response.set_cookie(
        cookie_name(request),
        token,
        max_age=int(sign_ins.VALID_S),
        secure=_is_encrypted(request),
        httponly=True,
        samesite="strict",
    )


def forget_cookie(request: Request, response: Response) -> None:
    """Have the browser drop it."""
    response.delete_cookie(
        cookie_name(request), secure=_is_encrypted(request), httponly=True, samesite="strict"
    )


def cookie_name(request: Request) -> str:
    """What the cookie is called on the way that the request came."""
    return _SECURE_NAME if _is_encrypted(request) else _PLAIN_NAME


# --- helpers ------------------------------------------------------------------------------------


def _is_encrypted(request: Request) -> bool:
    """Behind a proxy it is what uvicorn takes from X-Forwarded-Proto."""
    return request.url.scheme == "https"


def _page_token(cookie: str) -> str:
    return hmac.digest(cookie.encode(), b"deepsweep:page-token", "sha256").hex()


def _check_origin(request: Request) -> None:
    """There is no session yet whose token could be asked for: browsers say whose page it was.

    Sec-Fetch-Site is sent by all of them where the way is encrypted (or this machine), Origin
    elsewhere. What sends neither is no browser, and has no cookies that could be abused.
    """
    site = request.headers.get("sec-fetch-site")
    if site is None:
        origin = request.headers.get("origin")
        foreign = origin is not None and urlsplit(origin).netloc != request.headers.get("host")
    else:
        foreign = site != "same-origin"
    if foreign:
        raise CrossSite("This did not come from the sign-in page of this service.")
