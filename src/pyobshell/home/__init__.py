"""The agent's own files: opened at its start, kept a copy of, examined, repaired."""
