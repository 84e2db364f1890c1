"""The simulated portfolio against published figures: the table and the plots of docs/concepts/simulator.md."""

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import polars as pl

from arrears.settings import CHECKOUT
from arrears.simulation.portfolio.calibration import Target, panel, simulated_figures, targets
from arrears.simulation.portfolio.dice import Bools, Ints
from arrears.simulation.portfolio.simulate import Portfolio, blocks, tables_of, world_of

DAY = date(2026, 3, 31)
PORTFOLIO = Portfolio(loans=20_000, months=36, seed=7, anchor=DAY)
IMAGES = CHECKOUT / "docs/images"
COLOURS = ("#1b4f72", "#2e86c1", "#85c1e9", "#a04000", "#dc7633", "#7d6608")


def main() -> None:
    """Prints the table and writes the plots."""
    found = simulated_figures(PORTFOLIO, DAY)
    print("| figure | published | range | simulated | source |")
    print("| --- | --- | --- | ---: | --- |")
    for target in targets():
        value, ends = found[target.figure], f"{target.low:g} to {target.high:g}"
        print(f"| {target.figure} | {target.published} | {ends} | {value:.4f} | {target.source} |")
    IMAGES.mkdir(exist_ok=True)
    _save("simulator-ranges.svg", _ranges(targets(), found))
    world = world_of(PORTFOLIO, DAY)
    made = [tables_of(world, block) for block in blocks(world, PORTFOLIO)]
    histories = [history for _, _, history in made]
    whole = list(blocks(world, PORTFOLIO))
    behind = np.concatenate([history.behind for history in histories])[:, : world.calendar.last_month + 1].astype(
        np.int64
    )
    born = np.concatenate([block.disbursed_month for block in whole])
    curves = []
    for cohort in range(0, 30, 6):
        rows = (born >= cohort) & (born < cohort + 6)
        curve = []
        for age in range(1, 31 - cohort):
            ever = [(behind[i, born[i] : born[i] + age + 1] >= 2).any() for i in np.flatnonzero(rows)]
            curve.append((age, 100 * float(np.mean(ever))))
        curves.append((f"granted in months {cohort + 1}-{cohort + 6}", curve))
    _save("simulator-vintages.svg", _lines("Ever 30+ days past due, percent of loans, by months on book", curves))
    live = np.concatenate(
        [panel(world, block, history).is_live for block, (_, _, history) in zip(whole, made, strict=True)]
    )
    product = np.concatenate([block.product for block in whole])
    names = whole[0].products
    _save("simulator-rolls.svg", _rolls(behind, live, product, names))
    _save(
        "simulator-age.svg",
        _lines(
            "First 90 days past due, percent of loans a month, by months on book",
            _by_age(behind, live, born, product, names),
        ),
    )
    truth = pl.concat([known["borrower_months"] for _, known, _ in made]).sort("borrower_id", "month")
    _save(
        "simulator-hazard.svg",
        _lines("True default hazard around a shock, percent, by months from its onset", _around(truth)),
    )


def _rolls(behind: Ints, live: Bools, product: Ints, names: Sequence[str]) -> str:
    """Monthly transitions of accounts in quarters, and the published ranges as bands."""
    curves, bands = [], []
    for figure in ("roll 30 to 60, consumer", "roll 60 to 90, revolving", "roll 90 to 120+, revolving"):
        (target,) = [one for one in targets() if one.figure == figure]
        stage, rows = int(figure[5:7]) // 30, product == names.index(figure.split(", ")[1])
        curve = []
        for month in range(12, behind.shape[1] - 4, 3):
            at = slice(month, month + 3), slice(month + 1, month + 4)
            was = (behind[rows, at[0]] == stage) & live[rows, at[0]] & live[rows, at[1]]
            rolled = was & (behind[rows, at[1]] == stage + 1)
            curve.append((month + 1, 100 * float(rolled.sum() / max(1, was.sum()))))
        curves.append((figure, curve))
        bands.append((100 * target.low, 100 * target.high))
    return _lines("Roll rates by quarter, percent, and published ranges", curves, bands)


def _by_age(
    behind: Ints, live: Bools, born: Ints, product: Ints, names: Sequence[str]
) -> list[tuple[str, list[tuple[int, float]]]]:
    """Of the loans that were never 90 days late before, how many are in each month of their life, in half-years."""
    curves = []
    age = np.arange(behind.shape[1])[None, :] - born[:, None]
    bad = (behind >= 4) & (age > 0)
    before = np.cumsum(bad, axis=1) - bad > 0
    for name in ("consumer", "revolving", "mortgage", "auto", "sme_term"):
        risky = live & ~before & (product == names.index(name))[:, None]
        curve = []
        for start in range(1, 31, 3):
            at = risky & (age >= start) & (age < start + 3)
            curve.append((start + 1, 100 * float((at & bad).sum() / max(1, at.sum()))))
        curves.append((name, curve))
    return curves


def _around(truth: pl.DataFrame) -> list[tuple[str, list[tuple[int, float]]]]:
    shown = truth.with_columns(
        ((pl.col("shock").is_not_null()) & pl.col("shock").shift(1).over("borrower_id").is_null()).alias("begins")
    )
    curves = []
    for shock in ("job_loss", "illness", "customer_failure", "cost_overrun"):
        curve = []
        for month in range(-6, 13):
            at = pl.col("default_hazard").shift(-month).over("borrower_id")
            value = shown.with_columns(at.alias("h")).filter(pl.col("begins") & (pl.col("shock") == shock))["h"].mean()
            curve.append((month, 100 * float(value or 0.0)))  # type: ignore[arg-type]
        curves.append((shock.replace("_", " "), curve))
    return curves


def _text(x: float, y: float, said: str, *, size: int = 12, anchor: str = "start", colour: str = "black") -> str:
    where = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {where} font-size="{size}" fill="{colour}">{escape(said)}</text>'


def _ranges(wanted: Sequence[Target], found: Mapping[str, float]) -> str:
    """Each figure as a dot on the bar of its range; bars are drawn to one length."""
    height, left, width = 22, 420, 300
    parts = []
    for number, target in enumerate(wanted):
        y, value = 30 + number * height, found[target.figure]
        at = left + width * (value - target.low) / (target.high - target.low)
        parts.append(_text(left - 10, y + 4, target.figure, anchor="end"))
        parts.append(f'<rect x="{left}" y="{y - 5}" width="{width}" height="10" fill="#d6eaf8"/>')
        parts.append(f'<circle cx="{at:.1f}" cy="{y}" r="5" fill="#1b4f72"/>')
        parts.append(_text(left + width + 12, y + 4, f"{target.low:g} to {target.high:g}: {value:.3g}", size=11))
    return _svg(900, 40 + height * len(wanted), parts)


def _lines(
    title: str,
    curves: Sequence[tuple[str, Sequence[tuple[int, float]]]],
    bands: Sequence[tuple[float, float]] = (),
) -> str:
    """Curves over whole numbers; each band lies behind the curve of its place, in the same colour."""
    left, top, width, height = 60, 40, 560, 300
    xs = [x for _, curve in curves for x, _ in curve]
    most = max([y for _, curve in curves for _, y in curve] + [high for _, high in bands]) * 1.1
    low, high = min(xs), max(xs)

    def place(x: float, y: float) -> tuple[float, float]:
        return left + width * (x - low) / (high - low), top + height * (1 - y / most)

    parts = [_text(left, 22, title, size=14)]
    for number, (least, highest) in enumerate(bands):
        upper, lower = place(low, highest)[1], place(low, least)[1]
        where = f'x="{left}" y="{upper:.1f}" width="{width}" height="{lower - upper:.1f}"'
        parts.append(f'<rect {where} fill="{COLOURS[number % len(COLOURS)]}" opacity="0.15"/>')
    for step in range(6):
        y = top + height * (1 - step / 5)
        parts.append(f'<line x1="{left}" x2="{left + width}" y1="{y}" y2="{y}" stroke="#ddd"/>')
        parts.append(_text(left - 8, y + 4, f"{most * step / 5:.1f}", size=11, anchor="end"))
    for x in range(low, high + 1, 3):
        parts.append(_text(place(x, 0)[0], top + height + 18, str(x), size=11, anchor="middle"))
    for number, (name, curve) in enumerate(curves):
        colour = COLOURS[number % len(COLOURS)]
        points = " ".join("{:.1f},{:.1f}".format(*place(x, y)) for x, y in curve)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(_text(left + width + 14, top + 20 + 18 * number, name, colour=colour))
    return _svg(820, top + height + 40, parts)


def _svg(width: int, height: int, parts: Sequence[str]) -> str:
    inside = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n{inside}\n</svg>\n'
    )


def _save(name: str, text: str) -> Path:
    path = IMAGES / name
    path.write_text(text, encoding="utf-8")
    return path
