"""All the MLflow there is."""
