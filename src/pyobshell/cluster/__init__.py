"""Who this agent is, who the others are, and how to speak with them."""
