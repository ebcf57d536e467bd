"""A made-up company with a truth known apart: a subscription retailer with shop, app and API."""
