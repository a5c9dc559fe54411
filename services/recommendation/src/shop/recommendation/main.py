"""The application: ``python -m shop.kit.serve recommendation``."""

from __future__ import annotations

from shop.kit.app import create_app
from shop.recommendation import api, consumers, grpc_api
from shop.recommendation.service import RecommendationService
from shop.recommendation.settings import Settings

settings = Settings()
app = create_app(
    settings,
    title="Recommendation",
    routers=[api.router],
    build=RecommendationService.build,
    consumers=consumers.consumers,
    readiness=[("catalogue", RecommendationService.check_catalogue)],
    beside=[grpc_api.server(settings)],
)
