"""One suite per stage: what must be true of what the stage proposes."""
