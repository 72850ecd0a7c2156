"""Who is asking, and what only they may read: keys, sealed requests, credentials, peers, vault."""
