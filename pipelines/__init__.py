"""From versioned data to a registered model version: one module per stage of dvc.yaml."""
