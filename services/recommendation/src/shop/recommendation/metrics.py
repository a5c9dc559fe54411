"""What is measured of recommendations and their model."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from shop.recommendation.domain import Kind

RESULTS = Counter("shop_recommendation_results_total", "Products that were recommended, by reason", ["kind"])
RESULTS_BY_KIND = {kind: RESULTS.labels(kind.value) for kind in Kind}
ANSWERS = Counter(
    "shop_recommendation_answers_total", "Answers by how many of the products asked for they have", ["result"]
)
FULL, SHORT, EMPTY = (ANSWERS.labels(result) for result in ("full", "short", "empty"))
LEFT_OUT = Counter("shop_recommendation_filtered_total", "Candidates that were not recommended", ["reason"])
UNAVAILABLE = LEFT_OUT.labels("sold_out_or_withdrawn")
NOT_WANTED = LEFT_OUT.labels("bought_or_excluded")
OTHER_CATEGORY = LEFT_OUT.labels("category")
MODEL_AGE = Gauge("shop_recommendation_model_age_seconds", "Since the model in use was trained; 0 without a model")
MODEL_ORDERS = Gauge("shop_recommendation_model_orders", "Orders that the model in use was trained on")
TRAINING = Histogram(
    "shop_recommendation_training_seconds",
    "Time of one training, reading and storing included",
    buckets=(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0),
)
