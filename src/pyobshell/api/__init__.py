"""The HTTP API: parse, call, wrap in the envelope; what is done is done elsewhere."""
