"""What the ledger says is live, as manifests of Kubernetes."""
