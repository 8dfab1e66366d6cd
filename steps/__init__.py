"""Steps for Tekton: from a commit of an application's source to a pull request that names the new image."""

VERSION = "0.1.0"
"""As pyproject.toml has it, for whoever is not installed but copied."""
