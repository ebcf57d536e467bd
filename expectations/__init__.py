"""Gates: what must be true before the next stage may start."""
