"""Routes about how often verdicts are wrong, estimated from what people judged."""

from __future__ import annotations

import uuid
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, ConfigDict, Field

from api import scanning
from api.problems import documented
from api.security import Caller, Needs, Reader
from api.services import Given
from core.vocabulary import Scope, Verdict
from db import estimates, models, sampling

router = APIRouter(responses=documented(401, 403, 404, 422, 429, 503))


class Rate(BaseModel):
    """One estimated rate with its 95% confidence interval."""

    estimate: float | None = Field(
        description="Null where it cannot be told: a stratum without judgements.", ge=0, le=1
    )
    low: float = Field(ge=0, le=1)
    high: float = Field(ge=0, le=1)


class Stratum(BaseModel):
    """Items that were called the same, and drawn with the same probability."""

    called: Verdict = Field(description="By the model whose errors are estimated.")
    drawn_as: Verdict = Field(description="By the scan's model; mostly the same.")
    probability: float | None = Field(
        description="With which each was drawn; null where none was.", ge=0, le=1
    )
    population: int = Field(description="How many there are.", ge=0)
    drawn: int = Field(ge=0)
    judged: int = Field(description="Of the drawn: with a settled judgement.", ge=0)
    fake: int = Field(description="Of the judged.", ge=0)
    unsure: int = Field(description="Of the drawn: looked at, and not to be told.", ge=0)


class Estimate(BaseModel):
    """How often verdicts were wrong, as far as can be known."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "of": "sweep@3",
                    "false_negative_rate": {"estimate": 0.12, "low": 0.055, "high": 0.219},
                    "false_positive_rate": {"estimate": 0.00876, "low": 0.00304, "high": 0.019},
                    "prevalence": {"estimate": 0.104, "low": 0.092, "high": 0.118},
                    "confidence": 0.95,
                    "judged": 620,
                    "strata": [
                        {
                            "called": "real",
                            "drawn_as": "real",
                            "probability": 0.05,
                            "population": 9044,
                            "drawn": 447,
                            "judged": 420,
                            "fake": 6,
                            "unsure": 0,
                        }
                    ],
                    "cautions": [],
                }
            ]
        }
    )

    of: str = Field(description="The scan's id, or the model version.")
    false_negative_rate: Rate = Field(description="Fakes that were called real, of all fakes.")
    false_positive_rate: Rate = Field(description="Others that were called fake, of all others.")
    prevalence: Rate = Field(description="Fakes, of all items with a judged face.")
    confidence: float = Field(description="Of the intervals.", examples=[0.95])
    judged: int = Field(description="How many judgements stand behind the figures.", ge=0)
    strata: list[Stratum]
    cautions: list[str] = Field(description="What is too thin to build on, in sentences.")


@router.get("/v1/scans/{scan_id}/estimate", tags=["scans"])
def estimate_scan(scan_id: uuid.UUID, caller: Reader, services: Given) -> Estimate:
    """How often the verdicts of a scan were wrong, from its audit sample. Scope: `read`."""
    with services.database.transaction() as session:
        scanning.owned(session, caller, scan_id)
        found = estimates.estimate(sampling.of_scan(session, scan_id))
    return _shown(str(scan_id), found)


@router.get("/v1/models/{model}/estimate", tags=["models"])
def estimate_model(
    model: Annotated[str, Path(max_length=80, examples=["sweep@3"])],
    caller: Annotated[Caller, Depends(Needs(Scope.REVIEW))],  # noqa: ARG001 - checks the key
    services: Given,
) -> Estimate:
    """How often a model version was wrong, over all audited scans. Scope: `review`."""
    with services.database.transaction() as session:
        version = models.find(session, model)
        found = estimates.estimate(sampling.of_model(session, version.id))
    return _shown(version.reference, found)


def _shown(of: str, found: estimates.Estimates) -> Estimate:
    rates = ("false_negative_rate", "false_positive_rate", "prevalence")
    return Estimate(
        of=of,
        confidence=0.95,
        judged=found.judged,
        strata=[Stratum(**asdict(stratum)) for stratum in found.strata],
        cautions=list(found.cautions),
        **{name: Rate(**asdict(getattr(found, name))) for name in rates},
    )
