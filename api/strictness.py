"""Nothing that a caller says is passed over: a misspelled filter would quietly find everything."""

from __future__ import annotations

from fastapi import Request

from core.errors import UsageError


async def check_query(request: Request) -> None:
    """Refuse query parameters that the description does not know. Raises UsageError.

    Pages are not in it, and take what they like.
    """
    operations = request.app.openapi()["paths"].get(request.scope["route"].path, {})
    operation = operations.get(request.method.lower())
    if operation is None or not request.query_params:
        return
    parameters = operation.get("parameters", [])
    known = {each["name"] for each in parameters if each["in"] == "query"}
    for name in request.query_params:
        if name not in known:
            there = f"there are {', '.join(sorted(known))}" if known else "there are none"
            raise UsageError(f"{name[:40]!r} is no query parameter here; {there}.")
