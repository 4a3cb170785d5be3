"""Metrics, calibration and operating points on small known cases."""

from __future__ import annotations

import numpy as np
import pytest

from core.errors import UsageError
from core.vocabulary import MediaKind
from detector.calibration import probability, restated
from detector.spec import Aggregation, Platt, Thresholds
from tests.unit.cards import card
from tests.unit.training_cache import medium
from training import calibrate, evaluation, metrics
from training.judging import Judged


def judged(path: str, *tracks: list[float], **changes: str) -> Judged:
    kind = MediaKind.VIDEO if path.startswith("videos") else MediaKind.IMAGE
    return Judged(
        medium=medium(path, **changes), kind=kind, tracks=tuple(np.array(t) for t in tracks)
    )


def many(where: str, spread: float = 1.0, count: int = 40, frames: int = 1) -> list[Judged]:
    """Reals around -1, fakes around +1."""
    rng = np.random.default_rng(1)
    return [
        judged(
            f"{where}/{label}/{number}",
            rng.normal(1 if label == "fake" else -1, spread, frames).tolist(),
            source=f"s{number % 2}",
        )
        for label in ("real", "fake")
        for number in range(count)
    ]


# --- metrics -----------------------------------------------------------------------------------


def test_figures_of_a_known_case():
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    scores = np.array([0.1, 0.2, 0.3, 0.6, 0.4, 0.7, 0.8, 0.9])
    found = {name: f.value for name, f in metrics.figures(labels, scores, threshold=0.5).items()}
    assert found["auc"] == pytest.approx(15 / 16)
    assert found["accuracy"] == pytest.approx(6 / 8)
    assert found["recall"] == pytest.approx(3 / 4)
    assert found["specificity"] == pytest.approx(3 / 4)
    assert found["precision"] == pytest.approx(3 / 4)
    assert found["recall_at_fpr_5"] == pytest.approx(3 / 4)


def test_auc_and_average_precision_are_those_of_scikit_learn_also_with_ties():
    from sklearn import metrics as reference

    rng = np.random.default_rng(0)
    for _ in range(20):
        labels = np.concatenate([[0, 1], rng.integers(0, 2, 40)])
        scores, weights = rng.integers(0, 8, 42) / 8, rng.uniform(0.1, 2, 42)
        assert metrics.auc(labels, scores, weights) == pytest.approx(
            reference.roc_auc_score(labels, scores, sample_weight=weights)
        )
        assert metrics.average_precision(labels, scores) == pytest.approx(
            reference.average_precision_score(labels, scores)
        )


def test_an_interval_holds_its_figure_and_narrows_with_more_media():
    rng = np.random.default_rng(0)
    widths = []
    for count in (40, 1000):
        labels = np.arange(count) % 2
        scores = np.clip(rng.normal(0.4 + 0.2 * labels, 0.2), 0, 1)
        auc = metrics.figures(labels, scores, threshold=0.5)["auc"]
        assert auc.low <= auc.value <= auc.high
        widths.append(auc.high - auc.low)
    assert widths[1] < widths[0] / 2


def test_frames_of_one_video_are_drawn_together():
    labels, clusters = np.repeat([0, 1] * 10, 20), np.repeat(np.arange(20), 20)
    scores = np.clip(np.random.default_rng(0).normal(0.4, 0.2, 20), 0, 1)[clusters]
    alone = metrics.figures(labels, scores, threshold=0.5)["auc"]
    together = metrics.figures(labels, scores, threshold=0.5, clusters=clusters)["auc"]
    assert together.value == alone.value
    assert together.high - together.low > 2 * (alone.high - alone.low)


def test_a_paired_difference_is_narrower_than_two_intervals_apart():
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 2
    first = np.clip(rng.normal(0.4 + 0.2 * labels, 0.2), 0, 1)
    second = np.clip(first + rng.normal(0, 0.01, 200), 0, 1)
    found = metrics.difference("auc", labels, first, second)
    alone = metrics.figures(labels, first, threshold=0.5)["auc"]
    assert found.low <= found.value <= found.high
    assert found.high - found.low < (alone.high - alone.low) / 3
    assert metrics.difference("auc", labels, first, first).value == 0


def test_a_difference_needs_both_classes():
    assert metrics.difference("auc", np.ones(3, int), np.ones(3), np.ones(3)) is None


def test_every_draw_is_what_the_same_media_alone_would_give():
    """The many weightings at once against one at a time, over integer draws."""
    rng = np.random.default_rng(3)
    labels, scores = rng.integers(0, 2, 60), rng.integers(0, 12, 60) / 11
    weights = metrics.draw(60, draws=20)
    for name, function in metrics.functions(labels, 0.5).items():
        together = function(labels, scores, weights)
        for row, value in zip(weights.astype(int), together, strict=True):
            y, p = np.repeat(labels, row), np.repeat(scores, row)
            one = function(y, p, np.ones((1, len(y))))[0]
            assert value == pytest.approx(one), name


def test_honest_scores_of_few_media_show_a_calibration_error_all_the_same():
    scores = np.random.default_rng(7).uniform(0, 1, 4000)
    assert metrics.calibration_floor(scores[:50], draws=50) > 0.08
    assert metrics.calibration_floor(scores, draws=20) < 0.03


def test_one_class_gives_only_what_it_can():
    found = metrics.figures(np.zeros(5, int), np.linspace(0, 1, 5), threshold=0.9)
    assert set(found) == {"accuracy", "specificity"}


def at_even_odds(count: int, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Labels of which `share` are fakes, and scores that are honest where half of them are."""
    rng = np.random.default_rng(2)
    labels = (np.arange(count) < share * count).astype(int)
    evidence = rng.normal(np.where(labels == 1, 1.0, -1.0), 2**0.5)  # log odds of N(1, 2), N(-1, 2)
    return labels, 1 / (1 + np.exp(-evidence))


def test_the_mixture_of_a_set_is_no_error_of_scores_that_speak_of_another():
    labels, scores = at_even_odds(20_000, share=0.1)
    assert metrics.calibration_error(labels, scores) > 0.15
    assert metrics.calibration_error(labels, scores, 0.5) < 0.03
    assert metrics.calibration_error(labels, restated(scores, 0.5, 0.1)) < 0.02
    found = metrics.figures(labels, scores, threshold=0.5, draws=20)
    assert found["calibration_error_at_prior"].value < 0.03
    assert metrics.figures(labels, scores, threshold=0.5, prior=0.1, draws=20)[
        "calibration_error_at_prior"
    ].value == pytest.approx(found["calibration_error"].value, abs=1e-9)


def test_honest_scores_show_their_floor_at_their_own_base_rate():
    _, scores = at_even_odds(200, share=0.2)
    _, many_scores = at_even_odds(20_000, share=0.2)
    assert metrics.calibration_floor(scores, prior=0.5, share=0.2, draws=50) > 0.04
    assert metrics.calibration_floor(many_scores, prior=0.5, share=0.2, draws=5) < 0.02


def test_a_score_is_restated_at_another_base_rate_by_bayes_rule():
    assert restated(np.array([0.9]), 0.5, 0.05)[0] == pytest.approx(
        0.9 * 0.05 / (0.9 * 0.05 + 0.1 * 0.95)
    )
    assert restated(np.array([0.3]), 0.2, 0.2)[0] == pytest.approx(0.3)


def test_calibration_error_is_zero_when_scores_are_shares():
    labels = np.array([0] * 8 + [1] * 2 + [0] * 2 + [1] * 8)
    scores = np.array([0.2] * 10 + [0.8] * 10)
    assert metrics.calibration_error(labels, scores) == pytest.approx(0, abs=1e-9)
    assert metrics.calibration_error(labels, 1 - scores) == pytest.approx(0.6)


def test_a_threshold_lets_no_more_reals_over_it_than_asked():
    reals = np.linspace(0, 1, 200)
    for rate in (0.01, 0.05, 0.5):
        assert (reals >= metrics.threshold_at_fpr(reals, rate)).mean() <= rate
    tied = np.full(50, 0.3)
    assert (tied >= metrics.threshold_at_fpr(tied, 0.05)).mean() == 0


def test_no_hit_in_n_is_bounded_by_about_the_rule_of_three():
    assert metrics.rate_upper(0, 300) == pytest.approx(3.7 / 300, rel=0.02)
    assert metrics.rate_upper(5, 5) == 1.0


@pytest.mark.parametrize(
    ("labels", "scores"), [([0, 1], [0.5]), ([0, 2], [0.5, 0.5]), ([0, 1], [0.5, 1.5]), ([], [])]
)
def test_figures_of_nonsense_are_refused(labels, scores):
    with pytest.raises(ValueError, match=r"score|labels"):
        metrics.figures(np.array(labels, int), np.array(scores, float), threshold=0.5)


# --- calibration -------------------------------------------------------------------------------


def test_platt_finds_the_map_that_made_the_labels():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, 6000)
    fake = rng.random(6000) < 1 / (1 + np.exp(-(0.7 * logits)))
    media = [
        judged(f"images/{'fake' if f else 'real'}/{n}", [z])
        for n, (z, f) in enumerate(zip(logits, fake, strict=True))
    ]
    platt = calibrate.fit_platt(media, logits.tolist())
    assert platt.slope == pytest.approx(0.7, rel=0.1)
    assert platt.offset == pytest.approx(0.0, abs=0.1)


def test_a_large_source_does_not_outweigh_a_small_one():
    media = [judged(f"images/real/{n}", [0.0], source="large") for n in range(9)]
    media += [judged("images/real/x", [0.0], source="small")]
    media += [judged("images/fake/y", [0.0], source="large")]
    weights = calibrate.weights_of(media)
    assert weights[:9].sum() == pytest.approx(0.25)
    assert weights[9] == pytest.approx(0.25)
    assert weights[10] == pytest.approx(0.5)


def test_the_mean_is_kept_unless_another_rule_is_clearly_better():
    assert calibrate.choose_rule(many("videos", frames=8)).rule == "mean"
    flashes = [judged(f"videos/real/{n}", [0.0] * 7 + [n * 0.01]) for n in range(20)]
    flashes += [judged(f"videos/fake/{n}", [-0.5] * 6 + [1.2, 1.2]) for n in range(20)]
    assert calibrate.choose_rule(flashes).rule == "top-share"


def test_operating_points_hold_their_false_positive_rate_and_leave_a_band():
    fitted = calibrate.fit(many("images", count=200) + many("videos", count=50, frames=6))
    for thresholds, count in ((fitted.operating.image, 200), (fitted.operating.video, 50)):
        assert thresholds.real_media == count
        assert thresholds.false_positive_rate <= 0.05
        assert thresholds.false_positive_rate < thresholds.false_positive_rate_upper
        assert 0 < thresholds.real_below <= thresholds.fake_from < 1


def test_thresholds_are_stricter_where_sources_differ_in_their_scores():
    still, platt = Aggregation(rule="mean"), Platt(slope=1.0, offset=0.0)
    rng = np.random.default_rng(2)
    fakes = [judged(f"images/fake/{n}", [z]) for n, z in enumerate(rng.normal(4, 1, 100))]

    def limits(shift: float) -> Thresholds:
        reals = [
            judged(f"images/real/{source}-{n}", [shift * source + z], source=f"source {source}")
            for source in range(6)
            for n, z in enumerate(np.random.default_rng(source).normal(0, 1, 50))
        ]
        return calibrate.operate(fakes + reals, still, platt)

    assert limits(0.0).false_positive_rate > 0.04
    assert limits(1.5).false_positive_rate < 0.025


def test_below_real_below_hardly_anything_is_fake():
    media = many("images", count=300)
    still = Aggregation(rule="mean")
    platt = calibrate.fit_platt(media, [calibrate.item_logit(m, still) for m in media])
    limits = calibrate.operate(media, still, platt)
    said_real = [
        m.fake
        for m in media
        if probability(calibrate.item_logit(m, still), platt) < limits.real_below
    ]
    assert len(said_real) > 50
    assert np.mean(said_real) <= calibrate.MISSED


def test_without_fake_videos_a_video_is_calibrated_as_a_picture_and_stays_uncertain():
    fitted = calibrate.fit([*many("images"), judged("videos/real/0", [0.0])])
    alone = calibrate.fit(many("images"))
    assert fitted == alone
    assert fitted.calibration.track == fitted.calibration.frame == fitted.calibration.image
    assert fitted.operating.video == calibrate.UNDECIDED
    assert fitted.operating.image.real_media > 0


def test_calibration_without_a_fake_is_refused():
    with pytest.raises(UsageError, match="real and fake"):
        calibrate.fit([judged("images/real/0", [0.0]), judged("videos/real/0", [0.0])])


def test_an_items_logit_is_its_highest_tracks():
    item = judged("videos/real/0", [-3.0, -1.0], [1.0, 2.0], [-5.0])
    assert calibrate.item_logit(item, Aggregation(rule="mean")) == pytest.approx(1.5)


# --- evaluation --------------------------------------------------------------------------------


def test_evaluation_reports_all_each_source_and_each_generator():
    media = many("images", count=12)
    media.append(judged("images/fake/z", generator="other"))
    found = {one.source: one for one in evaluation.evaluate(media, card(), "dev")}
    assert list(found) == ["all", "s0", "s1", "somewhere", "other | all reals",
                           "swapper | all reals"]  # fmt: skip
    assert (found["all"].real, found["all"].fake, found["all"].no_face) == (12, 12, 1)
    assert found["somewhere"].figures == {}
    assert found["all"].figures["auc"].value > 0.8


def test_the_share_of_uncertain_is_what_lies_between_the_thresholds():
    logits = {"real": [-3.0, -3.0, 0.0, 0.0], "fake": [3.0, 3.0, 3.0, 0.0]}
    media = [
        judged(f"images/{label}/{n}", [z])
        for label, values in logits.items()
        for n, z in enumerate(values)
    ]
    figures = evaluation.evaluate(media, card(), "dev")[0].figures
    assert figures["uncertain"].value == pytest.approx(3 / 8)
    assert figures["accuracy_outside_band"].value == 1.0


@pytest.mark.parametrize("prior", [0.05, 0.5, 0.8])
def test_scores_speak_of_the_base_rate_in_the_card_and_verdicts_stay_as_they_are(prior: float):
    media = many("images", count=300) + many("videos", count=100, frames=4)
    even, asked = calibrate.fit(media), calibrate.fit(media, prior_fake=prior)
    assert (even.calibration.prior_fake, asked.calibration.prior_fake) == (0.5, prior)
    for kind, old, new in (
        ("images", even.calibration.image, asked.calibration.image),
        ("videos", even.calibration.track, asked.calibration.track),
    ):
        items = [m for m in media if m.medium.path.startswith(kind)]
        logits = [calibrate.item_logit(m, asked.aggregation) for m in items]
        before, after = (np.array([probability(z, platt) for z in logits]) for platt in (old, new))
        assert after == pytest.approx(restated(before, 0.5, prior), abs=5e-3)  # never certain
        limits = [getattr(each.operating, kind[:-1]).fake_from for each in (even, asked)]
        assert ((before >= limits[0]) == (after >= limits[1])).all()


def test_of_fewer_fakes_more_media_are_safely_called_real():
    media = many("images", spread=1.5, count=300)
    called = []
    for prior in (0.5, 0.05):
        fitted = calibrate.fit(media, prior_fake=prior)
        scores = [
            probability(calibrate.item_logit(m, fitted.aggregation), fitted.calibration.image)
            for m in media
        ]
        called.append(sum(score < fitted.operating.image.real_below for score in scores))
    assert called[1] > called[0] > 0
