"""All the Ray of a pool: session, queue, leases, workers, aggregation actor. It knows no corpus and no model."""
