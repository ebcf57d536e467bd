"""Features: the contract of the one wide table that segment rules see. dbt computes it."""
