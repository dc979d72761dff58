"""Sequential statistics and rules of canary, A/B and shadow. Imports nothing above the registry."""
