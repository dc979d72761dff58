"""The bottom layer: what is live, who decided it and why. Imports nothing of the other packages."""
