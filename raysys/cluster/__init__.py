"""The Ray: session, fold pool, queue, aggregation actor, and the cross-validation that uses them."""
