"""Addresses that one mailbox answers to, where its provider ignores part of them and the catalog says so.

Belongs here: the one step after an address's normal form, for one value and in SQL for millions; the two agree. Does
not belong here: the normal form (`normalise.py`).
"""

from collections.abc import Iterable, Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from segmentation.identity.normalise import NORMALISERS, Normalised, Normaliser, normalise_email
from segmentation.warehouse import literal


class EmailProvider(BaseModel):
    """A provider of mailboxes, as ``identifiers.yml`` describes it.

    Attributes:
        domains: Domains that name the same mailboxes; the first one stands for all of them.
        ignore_dots: Dots before the @ say nothing.
        plus_addressing: A plus and what follows it, before the @, say nothing.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    domains: Annotated[tuple[str, ...], Field(min_length=1, strict=False)]
    ignore_dots: bool = False
    plus_addressing: bool = False


Providers = Iterable[EmailProvider]


def find_mailbox(address: str, providers: Providers) -> str:
    """Return the address of the mailbox that an address in normal form reaches; that of a mailbox is its own.

    Nothing is taken away where nothing would be left.
    """
    local, _, domain = address.rpartition("@")
    for provider in providers:
        if domain in provider.domains:
            if provider.plus_addressing:
                local = local.partition("+")[0] or local
            if provider.ignore_dots:
                local = local.replace(".", "") or local
            return f"{local}@{provider.domains[0]}"
    return address


def mailbox_expression(address: str, providers: Providers) -> str:
    """Return the SQL that does what `find_mailbox` does, from SQL for an address in normal form."""
    whens = []
    for provider in providers:
        domains = ", ".join(literal(domain) for domain in provider.domains)
        local = f"split_part({address}, '@', 1)"
        if provider.plus_addressing:
            local = f"coalesce(nullif(split_part({local}, '+', 1), ''), {local})"
        if provider.ignore_dots:
            local = f"coalesce(nullif(replace({local}, '.', ''), ''), {local})"
        whens.append(
            f"when split_part({address}, '@', 2) in ({domains}) then {local} || '@' || {literal(provider.domains[0])}"
        )
    return f"case {' '.join(whens)} else {address} end" if whens else address


def normalisers(providers: Providers) -> Mapping[str, Normaliser]:
    """Return the rule of each type of identifier where these providers are known."""
    known = tuple(providers)

    def normalise_mailbox(raw: str, region: str = "") -> Normalised:
        found = normalise_email(raw, region)
        return found if found.id_value is None else Normalised(find_mailbox(found.id_value, known), None)

    return {**NORMALISERS, "email": normalise_mailbox} if known else NORMALISERS
