"""Routes about model versions."""

from __future__ import annotations

from fastapi import APIRouter
from sqlalchemy.orm import Session

from api import views
from api.problems import documented
from api.schemas import ModelList
from api.security import Reader
from api.services import Given
from core.errors import NoModelInUse
from db import models, requests

router = APIRouter(prefix="/v1/models", tags=["models"], responses=documented(401, 403, 429, 503))


@router.get("")
def list_models(caller: Reader, services: Given) -> ModelList:  # noqa: ARG001 - checks the key
    """The registered model versions with their cards, newest first. Scope: `read`."""
    with services.database.transaction() as session:
        known = models.listed(session)
        in_use = _in_use(session)
    return ModelList(models=[views.model(each, in_use=each.id == in_use) for each in known])


def _in_use(session: Session) -> int | None:
    try:
        return requests.model_in_use(session)
    except NoModelInUse:
        return None
