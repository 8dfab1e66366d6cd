"""Steps for Tekton: from a commit of an application's source to a pull request that names the new image."""
