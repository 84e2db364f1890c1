"""Where the made-up borrowers live: country, law, currency, time zone, language, and telephones that reach nobody."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """One market of the lender.

    `phone` has room for a number; the numbers are of ranges kept free for fiction (Germany: drama numbers
    030 23125; USA: 555-01xx; France: ARCEP's 01 99 00), elsewhere of country code 999, which the ITU gave to nobody.
    """

    country: str
    region: str | None
    governing_law: str
    currency: str
    time_zone: str
    language: str
    weight: float
    units_per_euro: float
    phone: str
    cities: tuple[str, ...]
    legal_form: str


PLACES = (
    Place(
        "DE", None, "DE", "EUR", "Europe/Berlin", "de", 0.34, 1, "+493023125{:03d}", ("Berlin", "Köln", "Jena"), "GmbH"
    ),
    Place(
        "FR", None, "FR", "EUR", "Europe/Paris", "fr", 0.14, 1, "+33199000{:03d}", ("Lyon", "Orléans", "Brest"), "SARL"
    ),
    Place("CZ", None, "CZ", "CZK", "Europe/Prague", "cs", 0.20, 24.5, "+999420000{:03d}", ("Plzeň", "Brno"), "s.r.o."),
    Place(
        "US",
        "US-CA",
        "US-CA",
        "USD",
        "America/Los_Angeles",
        "en",
        0.08,
        1.09,
        "+1213555{:04d}",
        ("Fresno", "Oakland"),
        "LLC",
    ),
    Place(
        "US",
        "US-NY",
        "US-NY",
        "USD",
        "America/New_York",
        "en",
        0.07,
        1.09,
        "+1212555{:04d}",
        ("Albany", "Yonkers"),
        "LLC",
    ),
    Place(
        "US",
        "US-TX",
        "US-TX",
        "USD",
        "America/Chicago",
        "es",
        0.05,
        1.09,
        "+1512555{:04d}",
        ("Austin", "El Paso"),
        "LLC",
    ),
    Place("JP", None, "JP", "JPY", "Asia/Tokyo", "ja", 0.12, 163, "+999810000{:03d}", ("Osaka", "Sendai"), "K.K."),
)


def phone(place: Place, number: int) -> str:
    """The number-th telephone number of a place; they repeat after a hundred in the USA, after a thousand elsewhere."""
    return place.phone.format(100 + number % 100 if place.country == "US" else number % 1000)
