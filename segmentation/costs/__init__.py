"""Costs: the bill in micros, allocated to segments so that it adds up."""
