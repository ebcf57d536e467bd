"""The flow: one thin module per stage, in the order of `orchestration/stages.py`."""
