"""Every way deepsweep can refuse or fail, as types with a code.

The root is DeepsweepError. Below it stand two branches that decide what happens next:
TransientError is tried again with backoff, PermanentError fails the item at once. A leaf is one
cause; its `code` is what tables, JSON and the API carry, and its message is a sentence a person
can act on.
"""

from __future__ import annotations

from typing import ClassVar


class DeepsweepError(Exception):
    """Root of all errors of this project. `str(error)` is a sentence for a person."""

    #: Stable identifier of the cause, lower_snake_case.
    code: ClassVar[str] = "internal_error"
    #: Whether trying again can help.
    transient: ClassVar[bool] = False


class TransientError(DeepsweepError):
    """The surroundings failed, not the item: try again later."""

    code = "transient_error"
    transient = True


class PermanentError(DeepsweepError):
    """Trying again gives the same: the item fails with this code."""

    code = "permanent_error"


# --- storage -----------------------------------------------------------------------------------


class StorageUnavailable(TransientError):
    """The storage answered with a server error or dropped the connection."""

    code = "storage_unavailable"


class StorageTimeout(TransientError):
    """The storage did not answer in time."""

    code = "storage_timeout"


class StorageSick(TransientError):
    """The storage fails for everything that is asked of it: none of its objects is to blame."""

    code = "storage_sick"


class ObjectChanged(TransientError):
    """The object was replaced while it was being read."""

    code = "object_changed"


class ObjectMissing(PermanentError):
    """There is no such file or key."""

    code = "object_missing"


class BucketMissing(PermanentError):
    """There is no such bucket."""

    code = "bucket_missing"


class AccessDenied(PermanentError):
    """The file, directory, key or bucket may not be read."""

    code = "access_denied"


class StorageRefused(PermanentError):
    """The storage or its client settings turn the request down, and would again."""

    code = "storage_refused"


class UnsupportedSource(PermanentError):
    """The URI has a scheme or a form that deepsweep does not read."""

    code = "unsupported_source"


class SourceNotAllowed(PermanentError):
    """The URI lies outside the prefixes that this caller may read."""

    code = "source_not_allowed"


# --- media -------------------------------------------------------------------------------------


class MediaError(PermanentError):
    """The bytes cannot be turned into frames."""

    code = "undecodable"


class EmptyFile(MediaError):
    """The object has no bytes."""

    code = "empty_file"


class UnsupportedMedia(MediaError):
    """The bytes are not an image or a video of a kind that deepsweep reads."""

    code = "unsupported_media"


class Undecodable(MediaError):
    """The decoder gave up on the bytes."""

    code = "undecodable"


class Truncated(MediaError):
    """The file ends before its picture does."""

    code = "truncated"


class NoFrames(MediaError):
    """The container is readable and holds no picture."""

    code = "no_frames"


class TooManyPixels(MediaError):
    """The header announces a picture beyond the pixel limit; nothing was allocated for it."""

    code = "too_many_pixels"


class FileTooLarge(MediaError):
    """The object is larger than the byte limit."""

    code = "file_too_large"


class HostileMedia(MediaError):
    """The file refers to other files or addresses, or is built to exhaust a decoder."""

    code = "hostile_media"


class DecoderCrashed(MediaError):
    """The helper process that decoded the file died; only this item fails."""

    code = "decoder_crashed"


class DecoderTimeout(MediaError):
    """Decoding took longer than its limit and was stopped."""

    code = "decoder_timeout"


class DecoderOutOfMemory(MediaError):
    """Decoding asked for more memory than an item may use."""

    code = "decoder_out_of_memory"


class DecoderUnavailable(TransientError):
    """The helper process that decodes could not be started."""

    code = "decoder_unavailable"


class CrashedWorker(PermanentError):
    """The item took a worker down with it three times and is kept apart."""

    code = "crashed_worker"


class ScanCancelled(PermanentError):
    """Nobody wants the item's result any more: its scan was stopped, or its claim was lost."""

    code = "scan_cancelled"


# --- models ------------------------------------------------------------------------------------


class ModelMissing(PermanentError):
    """No model version of that name and number is known."""

    code = "model_missing"


class NoModelInUse(TransientError):
    """No model version is registered, or none of several is the champion."""

    code = "no_model_in_use"


class ModelCorrupt(PermanentError):
    """A model's bytes or card do not match what was registered."""

    code = "model_corrupt"


class PickleRefused(PermanentError):
    """The weights are a pickle, which can run code when loaded; only safetensors are read."""

    code = "pickle_refused"


class UnknownArchitecture(PermanentError):
    """No architecture of that name is registered."""

    code = "unknown_architecture"


# --- retraining --------------------------------------------------------------------------------


class TrainingStopped(PermanentError):
    """A check refused a training run; what was in use stays in use."""

    code = "training_stopped"


class TooFewLabels(TrainingStopped):
    """There are too few new labels to learn from, or to see whether something was learnt."""

    code = "too_few_labels"


class OneClassOnly(TrainingStopped):
    """The new labels are all of one kind."""

    code = "one_class_only"


class LabelsContradict(TrainingStopped):
    """New labels say something else than adjudicated ones of the same media."""

    code = "labels_contradict"


class ReviewerApart(TrainingStopped):
    """One reviewer's labels differ from everybody else's."""

    code = "reviewer_apart"


class TrainerBusy(TransientError):
    """Another trainer is at work; there is one at a time."""

    code = "trainer_busy"


class RunLost(TransientError):
    """The training run is no longer this trainer's: it was stopped, or another one took it."""

    code = "run_lost"


# --- requests and services ---------------------------------------------------------------------


class UsageError(PermanentError):
    """The caller asked for something that cannot be done as asked."""

    code = "usage"


class OutputNotWritten(PermanentError):
    """A file that results were asked into cannot be written; the results are in the database."""

    code = "output_not_written"


class BadSamplingPlan(UsageError):
    """The text is not a sampling plan."""

    code = "bad_sampling_plan"


class NotFound(PermanentError):
    """No row of that identifier."""

    code = "not_found"


class DatabaseUnavailable(TransientError):
    """PostgreSQL cannot be reached."""

    code = "database_unavailable"


class DatabaseBusy(TransientError):
    """PostgreSQL gave a statement up: lock, time limit, deadlock, or no free connection."""

    code = "database_busy"


class DatabaseOutdated(PermanentError):
    """The database's tables are not those of this version of deepsweep."""

    code = "database_outdated"


class IdempotencyConflict(UsageError):
    """The same idempotency key came with another request before."""

    code = "idempotency_conflict"


class Unauthenticated(PermanentError):
    """No API key came with the request, or none that is valid."""

    code = "unauthenticated"


class ScopeMissing(PermanentError):
    """The API key may not do this."""

    code = "scope_missing"


class CrossSite(PermanentError):
    """The request may come from another site's page: it lacks the page's own token."""

    code = "cross_site"


class RateLimited(TransientError):
    """The caller asks more often than it may."""

    code = "rate_limited"

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        #: After so many seconds one request will pass.
        self.retry_after_s = retry_after_s


class RequestTooLarge(UsageError):
    """The body of a request is larger than its limit."""

    code = "request_too_large"


class NotInThisState(UsageError):
    """What is asked for does not go with the state that the thing is in."""

    code = "not_in_this_state"


class LeakBetweenSplits(UsageError):
    """The same person, file or picture would stand in two splits of a snapshot."""

    code = "leak_between_splits"


class CallbackRefused(UsageError):
    """The callback address is not one that may be called."""

    code = "callback_refused"


class LinkExpired(PermanentError):
    """A signed link is past its time, or was not signed here."""

    code = "link_expired"


class QueueUnavailable(TransientError):
    """Redis cannot be reached."""

    code = "queue_unavailable"


class NoWorker(TransientError):
    """No worker gives a sign of life: what is asked for waits."""

    code = "no_worker"


class OutOfMemory(TransientError):
    """The machine or its GPU had no memory for the smallest batch."""

    code = "out_of_memory"
