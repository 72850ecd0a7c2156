"""How fast the agent orchestrates: figures of one run, compared with each other."""
