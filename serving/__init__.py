"""A gateway before `mlflow models serve` that follows the ledger and loses no request."""
