"""A card for tests: identity calibration, so that scores are easy to read."""

from __future__ import annotations

from detector.spec import (
    Aggregation,
    Calibration,
    Card,
    DataSource,
    Input,
    Operating,
    Platt,
    Thresholds,
    Training,
)

IDENTITY = Platt(slope=1.0, offset=0.0)


def thresholds(*, fake_from: float = 0.8, real_below: float = 0.3) -> Thresholds:
    return Thresholds(
        fake_from=fake_from,
        real_below=real_below,
        false_positive_rate=0.01,
        false_positive_rate_upper=0.03,
        real_media=100,
    )


def card(**changes: object) -> Card:
    whole = Card(
        name="test",
        version=1,
        architecture="che-cnn",
        parameters=562_901,
        input=Input(size_px=256, crop_margin=0.2, mean=(0.5,) * 3, std=(0.5,) * 3),
        calibration=Calibration(image=IDENTITY, frame=IDENTITY, track=IDENTITY),
        aggregation=Aggregation(rule="mean"),
        operating=Operating(image=thresholds(), video=thresholds(fake_from=0.9)),
        training=Training(
            recipe="none",
            snapshot="none",
            snapshot_sha256="0" * 64,
            seed=0,
            code_version="0",
            machine="test",
            hours=0,
            steps=0,
            data=(DataSource(source="none", licence="none", real=0, fake=0),),
        ),
        weights_sha256="0" * 64,
    )
    return whole.model_copy(update=changes)
