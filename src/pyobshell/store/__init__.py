"""Tables, transactions and migrations, for SQLite and for OceanBase alike."""
