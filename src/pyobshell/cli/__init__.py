"""The command `obshell`: a client of the API like any other, and what starts and stops agents."""
