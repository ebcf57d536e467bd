"""Taking withdrawn consent out of destinations, and looking at what they hold: what tests of withdrawals share."""

import json

from segmentation.sync.stores.opening import open_store
from segmentation.sync.withdrawals import deliver_withdrawals

#: What the online store is for.
STORE = "essential.service"


class KilledError(Exception):
    """Stands for a process that ends here."""


def withdraw(company, **options):
    return deliver_withdrawals(
        company.con,
        company.next_run(),
        destinations=company.destinations,
        state_url=company.state_url,
        **options,
    )


def held(company):
    return {key: json.loads(value) for key, value in company.held("online_store").items()}


def place(company):
    """Where the store says it stands; ``None`` where nothing was ever loaded."""
    store = open_store(company.destination("online_store"))
    try:
        return store.position()
    finally:
        store.close()
