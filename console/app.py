"""The app: routes, guards and pages around a replica."""

from importlib.metadata import version
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

from console.api import health, router
from console.bundles import Bundles
from console.erasures import Erasures
from console.guard import BoundedBodies, RateLimit, SafeHeaders, Tokens
from console.item_times import ItemTimes
from console.lane import Lane
from console.metrics import ConsoleMetrics, Counted
from console.pages import Pages
from console.pages import router as pages
from console.problems import handle_problems
from console.quality import Quality
from console.quality import router as quality_page
from console.replica import Replica
from console.serving import Serving
from console.settings import ConsoleSettings

__all__ = ["create_app"]

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
) -> FastAPI:
    """Return the app; it opens and closes nothing by itself."""
    app = FastAPI(
        title="Segue",
        version=version("segue"),
        description="Recommendations from the live state, and what there is to know about them.",
        openapi_url="/v1/openapi.json",
        # Their pages load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
    )
    tokens = Tokens(settings.tokens)
    app.state.tokens = tokens
    app.state.replica = replica
    app.state.serving = serving
    app.state.erasures = erasures
    app.state.bundles = bundles
    app.state.metrics = metrics
    app.state.pages = watching
    app.state.quality = quality
    app.state.times = ItemTimes(replica)
    handle_problems(app)
    app.include_router(health)
    app.include_router(router)
    app.include_router(pages)
    app.include_router(quality_page)

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(STATIC / "index.html")

    app.mount("/static", StaticFiles(directory=STATIC))
    # The last one added sees a request first.
    app.add_middleware(Lane, tokens=tokens, replica=replica, serving=serving)
    app.add_middleware(BoundedBodies, most=settings.max_body_bytes)
    app.add_middleware(RateLimit, settings=settings, tokens=tokens)
    app.add_middleware(SafeHeaders)
    app.add_middleware(Counted, metrics=metrics)
    return app
