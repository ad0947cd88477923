"""The app: routes, guards and pages around a replica."""

from importlib.metadata import version
from pathlib import Path

from fastapi import FastAPI
from starlette.routing import Route

from console.api import health, router
from console.bundles import Bundles
from console.erasures import Erasures
from console.fast_path import FastPath
from console.guard import BoundedBodies, Origins, RateLimit, SafeHeaders, Tokens
from console.item_times import ItemTimes
from console.metrics import ConsoleMetrics, Counted
from console.openapi import describe
from console.pages import Pages
from console.pages import router as pages
from console.policies import PolicyEditing
from console.policies_api import BODY_BYTES
from console.policies_api import PATHS as POLICY_PATHS
from console.problems import handle_problems
from console.quality import Quality
from console.quality import router as quality_page
from console.replica import Replica
from console.serving import Serving
from console.settings import ConsoleSettings
from console.static_files import StaticFiles
from console.writes import Writes
from console.writes_api import PATHS as WRITTEN

__all__ = ["api_routes", "create_app"]

#: What pages of other origins may call: what an anonymous session needs.
OPEN_PATHS = ("/v1/events", "/v1/impressions", "/v1/recommendations")
STATIC = Path(__file__).parent / "static"


def create_app(
    settings: ConsoleSettings,
    *,
    replica: Replica,
    serving: Serving,
    erasures: Erasures,
    bundles: Bundles,
    metrics: ConsoleMetrics,
    watching: Pages,
    quality: Quality,
    writes: Writes,
    policies: PolicyEditing,
) -> FastAPI:
    """Return the app; it opens and closes nothing by itself."""
    app = api_routes()
    tokens = Tokens(settings.tokens)
    app.state.tokens = tokens
    app.state.replica = replica
    app.state.serving = serving
    app.state.erasures = erasures
    app.state.bundles = bundles
    app.state.metrics = metrics
    app.state.pages = watching
    app.state.quality = quality
    app.state.writes = writes
    app.state.policies = policies
    app.state.times = ItemTimes(replica)
    app.include_router(pages)
    app.include_router(quality_page)

    files = StaticFiles(STATIC, index="index.html")
    app.router.routes.append(Route("/", files, include_in_schema=False))
    app.mount("/static", files)
    # The last one added sees a request first.
    app.add_middleware(FastPath, tokens=tokens, replica=replica, serving=serving)
    app.add_middleware(
        BoundedBodies,
        most=settings.max_body_bytes,
        of_paths=dict.fromkeys(WRITTEN, settings.writes.body_bytes)
        | dict.fromkeys(POLICY_PATHS, BODY_BYTES),
    )
    app.add_middleware(RateLimit, settings=settings, tokens=tokens)
    app.add_middleware(Origins, origins=settings.origins, paths=OPEN_PATHS)
    app.add_middleware(SafeHeaders)
    app.add_middleware(Counted, metrics=metrics)
    return app


def api_routes() -> FastAPI:
    """Return an app with the routes of the API alone: enough for its OpenAPI document."""
    app = FastAPI(
        title="Segue",
        version=version("segue"),
        description="Recommendations from the live state, and the data behind them.",
        openapi_url="/v1/openapi.json",
        # Their pages load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
    )
    handle_problems(app)
    app.include_router(health)
    app.include_router(router)
    describe(app)
    return app
