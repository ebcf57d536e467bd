"""Names, towns and phone prefixes of the made-up people, by country.

Belongs here: plain lists. Does not belong here: how they are combined (`people.py`). Names are common
first and last names of each country; every e-mail domain ends in a name reserved for examples (RFC 2606).
"""

from typing import NamedTuple


class Country(NamedTuple):
    """A country the company sells in.

    Attributes:
        code: ISO 3166-1 alpha-2.
        weight: Share of the customers, in tenths.
        region: Where its people's data must stay.
        jurisdiction: Whose privacy law applies.
        calling_code: Without the plus sign.
        trunk: Digit dialled before a national number within the country, where there is one.
        first_names: As written by the people themselves.
        last_names: As written by the people themselves.
        towns: With the first digits of their postal codes.
    """

    code: str
    weight: int
    region: str
    jurisdiction: str
    calling_code: str
    trunk: str
    first_names: tuple[str, ...]
    last_names: tuple[str, ...]
    towns: tuple[tuple[str, str], ...]


COUNTRIES: tuple[Country, ...] = (
    Country(
        "DE", 3, "EU", "GDPR", "49", "0",
        ("Anna", "Jürgen", "Lukas", "Sophie", "Björn", "Käthe", "Felix", "Maja", "Jonas", "Zoë"),
        ("Müller", "Schmidt", "Weiß", "Krüger", "Becker", "Schäfer", "Hoffmann", "Köhler", "Vogel", "Jäger"),
        (("Köln", "506"), ("München", "803"), ("Berlin", "101"), ("Düsseldorf", "402")),
    ),
    Country(
        "FR", 2, "EU", "GDPR", "33", "0",
        ("Chloé", "Léa", "Hugo", "François", "Inès", "Théo", "Camille", "Zélie", "Louis", "Maël"),
        ("Martin", "Lefèvre", "Garçon", "Dubois", "Moreau", "Bélanger", "Petit", "Noël", "Roux", "Gérard"),
        (("Paris", "750"), ("Orléans", "450"), ("Besançon", "250"), ("Lyon", "690")),
    ),
    Country(
        "GB", 2, "UK", "UK_GDPR", "44", "0",
        ("Oliver", "Amelia", "Harry", "Isla", "George", "Ava", "Siân", "Freya", "Noah", "Poppy"),
        ("Smith", "Jones", "Taylor", "Brown", "O'Neill", "Evans", "Wright", "Walker", "Hughes", "Clarke"),
        (("London", "SW1"), ("Leeds", "LS1"), ("Bristol", "BS1"), ("Cardiff", "CF1")),
    ),
    Country(
        "ES", 1, "EU", "GDPR", "34", "",
        ("José", "María", "Íñigo", "Lucía", "Andrés", "Begoña", "Pablo", "Sofía", "Martín", "Nuria"),
        ("García", "Núñez", "López", "Muñoz", "Sánchez", "Ibáñez", "Romero", "Peña", "Vázquez", "Ortega"),
        (("Madrid", "280"), ("Málaga", "290"), ("A Coruña", "150"), ("Sevilla", "410")),
    ),
    Country(
        "US", 1, "US", "CCPA", "1", "",
        ("Emma", "Liam", "Olivia", "Mason", "Renée", "Ethan", "Beyoncé", "Logan", "Harper", "Aiden"),
        ("Johnson", "Williams", "Davis", "Miller", "Wilson", "Anderson", "Peña", "Jackson", "White", "Lee"),
        (("Austin", "787"), ("Seattle", "981"), ("Boston", "021"), ("Denver", "802")),
    ),
    Country(
        "NL", 1, "EU", "GDPR", "31", "0",
        ("Daan", "Emma", "Sem", "Noëlle", "Finn", "Saar", "Luuk", "Eva", "Jesse", "Zoë"),
        ("de Vries", "Jansen", "van Dijk", "Bakker", "Visser", "Smit", "Meijer", "de Groot", "Bos", "Mulder"),
        (("Utrecht", "351"), ("Rotterdam", "301"), ("Groningen", "971"), ("Leiden", "231")),
    ),
)  # fmt: skip

CONSUMER_DOMAINS: tuple[str, ...] = (
    "mailbox.example",
    "postfach.example",
    "courriel.example",
    "correo.example",
    "inbox.example",
)

COMPANY_WORDS: tuple[str, ...] = (
    "Grün", "Atlas", "Nord", "Lumière", "Café", "Delta", "Sol", "Harbour", "Kontor", "Granit", "Vélo", "Maple",
)  # fmt: skip

COMPANY_FORMS: tuple[str, ...] = ("GmbH", "SARL", "Ltd", "S.L.", "Inc.", "B.V.")

INDUSTRIES: tuple[str, ...] = ("software", "retail", "logistics", "finance", "health", "education")

#: E-mail addresses that people and clerks type where a form demands one.
PLACEHOLDER_EMAILS: tuple[str, ...] = (
    "none@none.com",
    "test@example.com",
    "noreply@shop.example",
    "no-reply@shop.example",
    "n/a",
)

PLACEHOLDER_PHONES: tuple[str, ...] = ("0000000000", "+490000000000", "1111111111", "unknown")


def sql_list(items: tuple[str, ...]) -> str:
    """Write texts as an SQL list."""
    return "[" + ", ".join("'" + item.replace("'", "''") + "'" for item in items) + "]"
