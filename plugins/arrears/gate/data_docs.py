"""Great Expectations' Data Docs: one static site for all dates, kept small, with an index of ours in front.

Great Expectations builds a site of the run at hand and removes all others from it. So each run is built aside and its
pages are moved in, at the same depth, because they refer to each other and to the pictures by relative paths; its index
becomes `DATE-STAGE.html`, and `index.html` lists the dates. Pages of dates long past are removed: what they said stands
in ops.gate_results.
"""

import re
import shutil
import tempfile
from datetime import date
from html import escape
from pathlib import Path
from typing import Any

SITE = "data_docs"
DATES_KEPT = 60
STAGES = ("raw", "marts", "queues")
_PAGE = re.compile(r"(?P<date>\d{4}-\d{2}-\d{2})-(?P<stage>raw|marts|queues)\.html")
# Pictures for a tour of Great Expectations that no page here shows: 3 MB.
_TOUR = ("iterative-dev-loop.png", "glossary_scroller.gif", "validation_failed_unexpected_values.gif")


class DocsSite:
    """The site under one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def index(self) -> Path:
        """The page to open first."""
        return self.folder / "index.html"

    def build(self, context: Any, stage: str, as_of_date: date) -> None:
        """Writes the pages of the run at hand and the index of all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        _forget_sites(context)
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=".building-") as name:
            aside = Path(name)
            context.add_data_docs_site(SITE, _config(aside))
            context.build_data_docs(site_names=[SITE])
            self._remove_run(f"{as_of_date}-{stage}")
            self._take_in(aside, f"{as_of_date}-{stage}.html")
        pages = self._pages()
        for day in sorted(pages, reverse=True)[DATES_KEPT:]:
            for old in pages.pop(day):
                self._remove_run(f"{day}-{old}")
                (self.folder / f"{day}-{old}.html").unlink(missing_ok=True)
        self.index.write_text(_front_page(pages), encoding="utf-8")

    def _take_in(self, aside: Path, index_name: str) -> None:
        for file in sorted(path for path in aside.rglob("*") if path.is_file()):
            place = file.relative_to(aside)
            if place.name in _TOUR:
                continue
            target = self.folder / (index_name if place == Path("index.html") else place)
            target.parent.mkdir(parents=True, exist_ok=True)
            file.replace(target)

    def _remove_run(self, run: str) -> None:
        for folder in (self.folder / "validations").glob(f"*/**/{run}"):
            shutil.rmtree(folder)

    def _pages(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for file in sorted(self.folder.glob("*.html")):
            match = _PAGE.fullmatch(file.name)
            if match:
                found.setdefault(match["date"], []).append(match["stage"])
        return found


def _config(folder: Path) -> dict[str, Any]:
    return {
        "class_name": "SiteBuilder",
        "show_how_to_buttons": False,
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
        "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder)},
    }


def _forget_sites(context: Any) -> None:
    """An ephemeral context brings a site of its own, in a temporary folder that nobody removes."""
    for name, config in dict(context.list_data_docs_sites()).items():
        context.delete_data_docs_site(name)
        folder = config.get("store_backend", {}).get("base_directory")
        if folder and Path(folder).resolve().parent == Path(tempfile.gettempdir()).resolve():
            shutil.rmtree(folder, ignore_errors=True)


def _front_page(pages: dict[str, list[str]]) -> str:
    lines = []
    for day in sorted(pages, reverse=True):
        links = " ".join(f'<a href="{escape(day)}-{stage}.html">{stage}</a>' for stage in STAGES if stage in pages[day])
        lines.append(f"<tr><th>{escape(day)}</th><td>{links}</td></tr>")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Quality gates</title>\n'
        "<style>body{font:16px/1.5 sans-serif;margin:3em auto;max-width:40em}th,td{padding:.2em 1em;text-align:left}"
        "td a{margin-right:1em}</style></head>\n<body><h1>Quality gates</h1>\n"
        "<p>What each gate checked on each business date. A gate run again replaces its page.</p>\n<table>\n"
        + "\n".join(lines)
        + "\n</table></body></html>\n"
    )
