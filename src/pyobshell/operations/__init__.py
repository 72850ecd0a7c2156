"""One module per operation: its validation and its stages, to be read as the runbook it is."""
