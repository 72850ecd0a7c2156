"""The durable DAG engine: knows stages, states and locks, and nothing of what they are for."""
