"""The terms of S3: what a URI names there, and what a failure of boto3 means here."""

from __future__ import annotations

import re
from dataclasses import dataclass

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    ReadTimeoutError,
    TokenRetrievalError,
)
from botocore.exceptions import ConnectionError as BotoConnectionError
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from core.errors import (
    AccessDenied,
    BucketMissing,
    DeepsweepError,
    ObjectChanged,
    ObjectMissing,
    StorageRefused,
    StorageTimeout,
    StorageUnavailable,
    UnsupportedSource,
)

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_VERSION = re.compile(r"(?P<key>.*)\?versionId=(?P<version>[^?]*)", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Place:
    """What an `s3://` URI names: a key, or everything under a prefix."""

    bucket: str
    #: Verbatim. A prefix is empty or ends with `/`.
    key: str
    version: str | None = None

    @classmethod
    def parse(cls, uri: str) -> Place:
        """Read `s3://bucket/key[?versionId=ID]`. Raises UnsupportedSource."""
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        if not uri.startswith("s3://") or not _BUCKET.fullmatch(bucket):
            # The text is not repeated: a password may stand where the bucket should.
            raise UnsupportedSource("A source in S3 is written s3://bucket/key or s3://bucket/.")
        named = _VERSION.fullmatch(key)
        if named is None:
            return cls(bucket=bucket, key=key)
        return cls(bucket=bucket, key=named["key"], version=named["version"] or None)

    @property
    def uri(self) -> str:
        """The URI that `parse` reads back to the same place."""
        if self.version is not None or _VERSION.fullmatch(self.key):
            return f"{self}?versionId={self.version or ''}"
        return str(self)

    @property
    def is_prefix(self) -> bool:
        """Whether it names everything under it, not one key."""
        return self.version is None and (not self.key or self.key.endswith("/"))

    def __str__(self) -> str:
        """For sentences."""
        return f"s3://{self.bucket}/{self.key}"

    def parameters(self) -> dict[str, str]:
        """As boto3 wants them."""
        version = {"VersionId": self.version} if self.version is not None else {}
        return {"Bucket": self.bucket, "Key": self.key, **version}


#: What boto3 raises; a body that is being read also lets urllib3's own errors through.
FAILURES = (BotoCoreError, ClientError, HTTPError, ResponseParserError)
#: Of these, what can befall a body after its request was answered.
BROKEN_BODY = (HTTPClientError, HTTPError, IncompleteReadError, BotoConnectionError)
_NO_CREDENTIALS = (
    CredentialRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    TokenRetrievalError,
)


@dataclass(frozen=True)
class Meaning:
    """What an answer means: an error and its sentence, where {place} stands for the object."""

    error: type[DeepsweepError]
    sentence: str

    def about(self, place: Place) -> DeepsweepError:
        """The error, to be raised."""
        return self.error(self.sentence.format(place=place))


_MISSING = Meaning(ObjectMissing, "There is no {place}.")
_DENIED = Meaning(AccessDenied, "{place} may not be read or listed with these credentials.")
_EXPIRED = Meaning(AccessDenied, "The credentials for {place} are not valid any more.")
CHANGED = Meaning(ObjectChanged, "{place} was replaced after it was listed or while it was read.")
_BUSY = Meaning(StorageUnavailable, "The storage could not serve {place} just now.")
#: Error codes of S3 that say more than the status does.
_CODES = {
    "NoSuchBucket": Meaning(BucketMissing, "There is no bucket for {place}."),
    "NoSuchKey": _MISSING,
    "NoSuchVersion": Meaning(ObjectMissing, "There is no such version of {place}."),
    "ExpiredToken": _EXPIRED,
    "InvalidToken": _EXPIRED,
    "InvalidObjectState": Meaning(AccessDenied, "{place} is archived: restore it first."),
    "RequestTimeout": _BUSY,
    "SlowDown": _BUSY,
}
#: Status codes of HTTP, where the code above is absent: an answer to HEAD has no body.
_STATUSES = {
    401: _DENIED,
    403: _DENIED,
    404: _MISSING,
    # A delete marker stands where the version should be.
    405: _MISSING,
    412: CHANGED,
    # The object is shorter than it was when it was listed.
    416: CHANGED,
    429: _BUSY,
}


def translated(error: Exception, place: Place) -> DeepsweepError:
    """One of boto3's errors as one of ours.

    To be raised `from None`: boto3's own sentences quote whole URLs, query strings included.
    """
    if isinstance(error, ClientError):
        return _answered(error, place)
    if isinstance(error, (ConnectTimeoutError, ReadTimeoutError)):
        return StorageTimeout(f"The storage did not answer in time about {place}.")
    if isinstance(error, _NO_CREDENTIALS):
        return AccessDenied(
            f"No usable credentials for {place}; set AWS_PROFILE, or AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY."
        )
    if isinstance(error, ParamValidationError):
        return UnsupportedSource(f"{place} is no name that S3 accepts.")
    if isinstance(error, (*BROKEN_BODY, ResponseParserError)):
        return StorageUnavailable(
            f"The connection to the storage failed over {place} ({type(error).__name__})."
        )
    return StorageRefused(f"{place} could not be asked for ({type(error).__name__}).")


def undeleted(code: str, place: Place) -> DeepsweepError:
    """Why one of many keys was not deleted: such answers carry a code and no status."""
    if code == "AccessDenied":
        return AccessDenied(f"{place} may not be deleted with these credentials.")
    if code in ("InternalError", "SlowDown", "ServiceUnavailable"):
        return _BUSY.about(place)
    return StorageRefused(f"The storage refused to delete {place}: {code}.")


def _answered(error: ClientError, place: Place) -> DeepsweepError:
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    code = error.response.get("Error", {}).get("Code", "")
    if status >= 500:
        return _BUSY.about(place)
    if meaning := _CODES.get(code) or _STATUSES.get(status):
        return meaning.about(place)
    if place.version is not None and status == 400:
        return _CODES["NoSuchVersion"].about(place)
    return StorageRefused(f"The storage refused {place}: {code or 'no reason'} (HTTP {status}).")
