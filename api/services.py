"""What the routes work with: made once by `api.app.create`, handed to each request."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Annotated, Protocol

from fastapi import Depends, Request

from api.board import Board
from api.figures import Counted
from api.limits import Buckets, Guesses, SignIns, Streams
from api.links import Links
from api.uploads import UploadStore
from core.objects import Storage
from core.pulse import Pulses
from core.settings import Settings
from core.vocabulary import Priority
from db.session import Database


class Hints(Protocol):
    """Tells the queue that there may be work. Never raises, never waits long."""

    def expand(self, scan_id: uuid.UUID) -> bool:
        """A scan has sources to be listed; whether the queue took the hint."""

    def scan(self, priority: Priority) -> bool:
        """Items wait."""

    def deliver(self) -> bool:
        """Callbacks are due."""

    def explain(self, explanation_id: int) -> bool:
        """Somebody waits for the explanation of a face."""

    def train(self, run_id: int) -> bool:
        """A training run waits for a trainer."""

    def check(self) -> None:
        """Raise QueueUnavailable unless the queue answers now."""


@dataclass(frozen=True, kw_only=True)
class Services:
    """One for each process."""

    settings: Settings
    database: Database
    hints: Hints
    storage: Storage
    uploads: UploadStore
    board: Board
    #: The dashboard's numbers.
    counted: Counted
    links: Links
    #: Of the review pages: to media, to the pictures that explain faces, and to kept crops.
    desk_media: Links
    explanations: Links
    crops: Links
    #: What workers say of themselves.
    pulses: Pulses
    #: By key: how often it may ask.
    rates: Buckets = field(default_factory=Buckets)
    #: By address: how often keys may be guessed.
    guesses: Guesses = field(default_factory=Guesses)
    #: By address: how often signing in to the pages may fail.
    sign_ins: SignIns = field(default_factory=SignIns)
    #: How many listen to the progress of scans.
    streams: Streams = field(default_factory=Streams)


async def of_request(request: Request) -> Services:
    """The services of the application that answers."""
    services: Services = request.app.state.services
    return services


#: For the signatures of routes.
Given = Annotated[Services, Depends(of_request)]
